"""What ULD adds to compose and chart: one folder that both see, one argument, an image of its own."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile.vllm").read_text("utf-8")


@pytest.fixture
def steering(parsed: Callable[[str], Any]) -> str:
    found: str = parsed("helm/lethe/files/vllm.yaml")["steering"]
    return found


def test_compose_adds_one_argument_and_one_folder(parsed: Callable[[str], Any], steering: str) -> None:
    whole, more = parsed("compose.yaml"), parsed("compose.uld.yaml")
    gateway, vllm = more["services"]["gateway"], more["services"]["vllm"]
    assert vllm["command"] == [*whole["services"]["vllm"]["command"], steering]
    folder = gateway["environment"]["LETHE_ENGINE__ADAPTERS"]
    assert vllm["environment"] == {"LETHE_ULD_ADAPTERS": folder}
    assert gateway["volumes"] == [f"assistants:{folder}"]
    assert vllm["volumes"] == [f"assistants:{folder}:ro"]
    assert more["volumes"]["assistants"]["driver_opts"]["type"] == "tmpfs"


def test_the_chart_adds_one_argument_and_one_folder(render: Callable[..., list[dict[str, Any]]], steering: str) -> None:
    def containers(**values: Any) -> list[dict[str, Any]]:
        pods = [one for kind in ("Deployment", "StatefulSet") for one in render(**values) if one["kind"] == kind]
        for pod in pods:
            pod["spec"]["template"]["spec"]["containers"][0]["volumes"] = pod["spec"]["template"]["spec"]["volumes"]
        return [one["spec"]["template"]["spec"]["containers"][0] for one in pods]

    def added(name: str) -> list[list[Any]]:
        pairs = zip(containers(), containers(assistants={"claim": "shared"}), strict=True)
        return [[one for one in more.get(name, []) if one not in bare.get(name, [])] for bare, more in pairs]

    assert added("args") == [[], [steering]]
    assert added("env") == [
        [{"name": "LETHE_ENGINE__ADAPTERS", "value": "/assistants"}],
        [{"name": "LETHE_ULD_ADAPTERS", "value": "/assistants"}],
    ]
    mount = {"name": "assistants", "mountPath": "/assistants"}
    assert added("volumeMounts") == [[mount], [mount | {"readOnly": True}]]
    assert [[one["persistentVolumeClaim"]["claimName"] for one in volumes] for volumes in added("volumes")] == [
        ["shared"],
        ["shared"],
    ]


def test_the_image_is_that_vllm_with_what_the_plugin_imports(parsed: Callable[[str], Any]) -> None:
    image = parsed("compose.yaml")["services"]["vllm"]["image"]
    assert f"ARG VLLM={image}\n" in DOCKERFILE
    copied = re.findall(r"^COPY (\w+) /opt/lethe/(\w+)$", DOCKERFILE, re.M)
    assert copied == [("guards", "guards"), ("adapters", "adapters")]
    assert "PYTHONPATH=/opt/lethe" in DOCKERFILE
    ignored = (ROOT / "deploy/Dockerfile.vllm.dockerignore").read_text("utf-8").splitlines()
    assert {"!guards", "!adapters"} <= set(ignored)
