"""What O3 adds to compose and chart: slots for LoRAs, and the routes by which the gateway fills them."""

from collections.abc import Callable
from typing import Any

import pytest

LOADING = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"


@pytest.fixture
def loras(parsed: Callable[[str], Any]) -> list[str]:
    found: list[str] = parsed("helm/lethe/files/vllm.yaml")["loras"]
    return found


def test_compose_adds_slots(parsed: Callable[[str], Any], loras: list[str]) -> None:
    before, more = (parsed(f"compose.{name}.yaml")["services"]["vllm"] for name in ("uld", "o3"))
    sizes = ["--max-loras=${LORAS:-8}", "--max-cpu-loras=${CACHED_LORAS:-64}"]
    assert more["command"] == [*before["command"], *loras, *sizes]
    assert more["environment"] == {LOADING: "1"}


@pytest.mark.parametrize(("slots", "cached", "kept"), [(0, 64, None), (8, 64, 64), (8, 4, 8)])
def test_the_chart_adds_slots(
    render: Callable[..., list[dict[str, Any]]], loras: list[str], slots: int, cached: int, kept: int | None
) -> None:
    def served(**more: Any) -> dict[str, Any]:
        (found,) = (one for one in render(assistants={"claim": "shared", **more}) if one["kind"] == "StatefulSet")
        container: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
        return container

    bare, more = served(), served(loras=slots, cachedLoras=cached)
    added = [one for one in more["args"] if one not in bare["args"]]
    assert added == ([*loras, f"--max-loras={slots}", f"--max-cpu-loras={kept}"] if slots else [])
    variables = [one for one in more["env"] if one not in bare["env"]]
    assert variables == ([{"name": LOADING, "value": "1"}] if slots else [])


def test_without_a_folder_there_are_none(render: Callable[..., list[dict[str, Any]]]) -> None:
    assert render(assistants={"loras": 8}) == render()
