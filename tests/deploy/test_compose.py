"""compose.yaml: its schema, its networks, its settings."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.settings import Settings


@pytest.fixture
def compose(parsed: Callable[[str], Any]) -> Any:
    return parsed("compose.yaml")


def setting(variable: str) -> bool:
    """Whether a LETHE_ variable is a setting."""
    model: Any = Settings
    for part in variable.removeprefix("LETHE_").lower().split("__"):
        if part not in model.model_fields:
            return False
        default = model.model_fields[part].default
        model = type(default) if isinstance(default, BaseModel) else BaseModel
    return True


def test_schema(deploy: Path, tool: Callable[[str, str], str]) -> None:
    check = tool("check-jsonschema", "pip install check-jsonschema")
    done = subprocess.run(
        [check, "--builtin-schema", "vendor.compose-spec", str(deploy / "compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_only_the_gateway_and_the_metrics_proxy_reach_vllm(compose: Any) -> None:
    assert compose["services"]["vllm"]["networks"] == ["engine"]
    assert compose["networks"]["engine"]["internal"] is True
    beside = {name for name, one in compose["services"].items() if "engine" in one["networks"]}
    assert beside == {"gateway", "vllm", "vllm-metrics"}


def test_ports_are_published_on_loopback_alone(compose: Any) -> None:
    published = {name: one["ports"] for name, one in compose["services"].items() if "ports" in one}
    assert published == {"gateway": ["127.0.0.1:8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_every_variable_is_a_setting(compose: Any) -> None:
    variables = [name for name in compose["services"]["gateway"]["environment"] if name.startswith("LETHE_")]
    assert len(variables) > 5
    assert [name for name in variables if not setting(name)] == []
    assert not setting("LETHE_ENGINE__ULR")


def test_what_trains_is_in_the_image_of_a_gateway_that_learns_uld_and_o3(parsed: Callable[[str], Any]) -> None:
    args = parsed("compose.uld.yaml")["services"]["gateway"]["build"]["args"]
    assert {"cpu", "postgres"} == {*args["EXTRAS"].split(",")}


def test_what_the_gateway_is_told_is_what_vllm_is(compose: Any) -> None:
    gateway, vllm = compose["services"]["gateway"], compose["services"]["vllm"]
    told = gateway["environment"]
    assert told["LETHE_ENGINE__URL"] == "http://vllm:8000/v1"
    assert f"--served-model-name={told['LETHE_ENGINE__MODEL']}" in vllm["command"]
    assert told["LETHE_ENGINE__API_KEY"] == vllm["environment"]["VLLM_API_KEY"]
    folder = next(one for one in vllm["volumes"] if one.endswith(":/model:ro"))
    assert folder in gateway["volumes"]
    assert told["LETHE_ENGINE__FOLDER"] == "/model"


def test_everything_asked_of_the_environment_is_in_the_example(deploy: Path) -> None:
    asked = set(re.findall(r"\$\{(\w+)", (deploy / "compose.yaml").read_text("utf-8")))
    there = set(re.findall(r"^(\w+)=", (deploy / "example.env").read_text("utf-8"), re.M))
    assert asked == there


def test_nothing_may_do_more_than_it_must(compose: Any) -> None:
    for name, one in compose["services"].items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one.get("read_only") or name == "prometheus", name
        assert not one["image"].endswith(":latest"), name
        assert ":" in one["image"], name


def test_every_file_that_is_mounted_is_there(compose: Any, deploy: Path) -> None:
    mounted = [
        one.split(":")[0] for service in compose["services"].values() for one in service["volumes"] if one[0] == "."
    ]
    assert len(mounted) == 6
    assert [name for name in mounted if not (deploy / name).is_file()] == []


def test_the_cpu_file_changes_vllm_alone(parsed: Callable[[str], Any]) -> None:
    assert set(parsed("compose.cpu.yaml")["services"]) == {"vllm"}
