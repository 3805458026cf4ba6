"""Rules of import beyond import-linter's, checked in processes of their own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "sentence_transformers", "tokenizers", "peft", "onnxruntime", "safetensors")

_BLOCKED = f"""
import importlib.abc, os, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ImportError(name + " is blocked")

for name in list(os.environ):
    if name.startswith("LETHE_"):
        del os.environ[name]
sys.meta_path.insert(0, Blocked())
"""


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED + code], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_gateway_before_a_remote_engine_needs_no_torch(tmp_path):
    run(
        """
from pathlib import Path
from gateway.settings import EngineSettings, Settings
from types import SimpleNamespace
from gateway.app import create_app
from gateway.telemetry import Meter
from gateway.engines.factory import adapters_for, open_engine

remote = EngineSettings(kind="upstream", url="http://127.0.0.1:1/v1", model="m")
settings = Settings(state_dir=Path("state"), engine=remote)
create_app(SimpleNamespace(meter=Meter()), None)
assert open_engine(settings).name == "m"
assert adapters_for(settings, None) == {}
assert not Path("state").exists()  # making an application touches nothing
""",
        tmp_path,
    )


@pytest.mark.parametrize(
    "module", ["gateway.cli", "gateway.jobs.worker", "gateway.client", "gateway.registry", "adapters.eco.adapter"]
)
def test_these_are_imported_without_torch(module, tmp_path):
    run(f"import {module}", tmp_path)


def test_the_command_line_helps_without_torch_or_web(tmp_path):
    shown = run(
        """
sys.argv = ["lethe", "--help"]
from gateway.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
""",
        tmp_path,
    )
    for command in ("serve", "demo", "forget", "check", "bench", "doctor"):
        assert command in shown


def test_the_vllm_plugin_imports_nothing_of_ours_but_its_method():
    plugin = ROOT / "adapters" / "uld" / "vllm_plugin.py"
    if not plugin.exists():
        pytest.skip("there is no vLLM plugin yet")
    ours = {
        name
        for node in ast.walk(ast.parse(plugin.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if name.partition(".")[0] in {"adapters", "gateway", "guards", "bench"}
    }
    assert all(name.startswith("adapters.uld") for name in ours)


def test_every_package_and_module_says_what_it_is():
    for package in ("gateway", "guards", "adapters", "bench"):
        for path in (ROOT / package).rglob("*.py"):
            if "versions" not in path.parts:
                assert ast.get_docstring(ast.parse(path.read_text())), path.relative_to(ROOT)
