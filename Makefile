# Two commands on a bare machine with Python 3.11, pip and make: `make serve`, `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: serve test check format bench clean

serve: $(STAMP)  ## the gateway on 127.0.0.1:8080, with the demo model until you point it at your own
	@$(BIN)/lethe serve

test: $(STAMP)  ## everything CI runs, the slow parts included
	@$(BIN)/python -m pytest

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
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(STAMP): pyproject.toml deploy/constraints.txt
	@echo "Installing into $(VENV) (the first time takes a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint deploy/constraints.txt --editable '.[cpu,postgres,bench,dev]'
	@touch $@
