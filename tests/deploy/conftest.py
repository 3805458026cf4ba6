"""What is deployed, read once: files as data, the chart rendered by Helm itself."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
NEEDED: dict[str, Any] = {
    "model": {"name": "demo", "claim": "models"},
    "secret": {"adminKey": "a", "apiKeys": "b", "registryKey": "c", "vllmKey": "d"},
}


class _Loader(yaml.SafeLoader):
    """YAML as compose reads it: `!reset` takes a value away."""


_Loader.add_constructor("!reset", lambda loader, node: None)


@pytest.fixture(scope="session")
def deploy() -> Path:
    return DEPLOY


@pytest.fixture(scope="session")
def parsed() -> Callable[[str], Any]:
    """A YAML file below deploy/."""
    return lambda name: yaml.load((DEPLOY / name).read_text("utf-8"), _Loader)


@pytest.fixture(scope="session")
def tool() -> Callable[[str, str], str]:
    """The path of a program, beside this interpreter or on PATH, or a skip that says where it comes from."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))

    def find(name: str, source: str) -> str:
        if (found := shutil.which(name, path=path)) is None:
            pytest.skip(f"{name} is not installed: {source}")
        return found

    return find


@pytest.fixture(scope="session")
def helm() -> Any:
    return pytest.importorskip("helm_python", reason="Helm's library is not installed: pip install '.[deploy]'")


@pytest.fixture(scope="session")
def render(helm: Any) -> Callable[..., list[dict[str, Any]]]:
    """The chart's objects, for values over those that must be given."""

    def rendered(**values: Any) -> list[dict[str, Any]]:
        with helm.Chart.load(DEPLOY / "helm/lethe") as chart:
            chart.validate_schema(NEEDED | values)
            files = chart.render(NEEDED | values, name="lethe", namespace="models")
        texts = (text for name, text in files.items() if name.endswith(".yaml"))
        return [one for text in texts for one in yaml.safe_load_all(text) if one]

    return rendered
