"""What README and the pages under docs/ say, against the code: a page that is no longer true fails here."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from typer.main import get_command

from gateway import admin, params
from gateway.admin.check import Checks
from gateway.admin.policy import Rollback
from gateway.admin.score import ScoreBody
from gateway.api import embeddings, generate, responses, service
from gateway.cli import app
from gateway.demo.world import make_world
from gateway.params.page import page
from gateway.registry import ForgetSpec, PolicyDocument
from gateway.settings import Settings
from gateway.telemetry import Meter

ROOT = Path(__file__).parents[1]
README, API, OPERATOR = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/api.md", "docs/operator.md"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SOURCES = ("gateway", "guards", "adapters", "bench")
BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": params.ChatBody,
    "/v1/completions": params.CompletionBody,
    "/v1/responses": params.ResponsesBody,
    "/v1/embeddings": params.EmbeddingsBody,
    "/admin/v1/forget-requests": ForgetSpec,
    "/admin/v1/check": Checks,
    "/admin/v1/score": ScoreBody,
    "/admin/v1/policy": PolicyDocument,
    "/admin/v1/policy/rollback": Rollback,
}


def tree() -> list[str]:
    """The paths that README's tree lists; folders end with a slash."""
    block = README.partition("## The tree")[2].split("```")[1]
    found, above = [], [""]
    for line in filter(None, block.splitlines()):
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        above = above[: depth + 1]
        found.append(above[depth] + name)
        above.append(found[-1])
    return found


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of every table row between a heading and the next of its rank or above; heads and rules left out."""
    rank = len(heading.split(" ")[0])
    section = re.split(rf"^#{{1,{rank}}} ", page.partition(f"{heading}\n")[2], maxsplit=1, flags=re.M)[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:1] == "|"
    ]
    return [row for row in cells if row[0].startswith("`")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def commands(page: str) -> Iterator[list[str]]:
    """Every command of the shell blocks, and every one that stands in the text."""
    for block in re.findall(r"```sh\n(.*?)```", page, re.S):
        yield from filter(None, (shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()))
    yield from (shlex.split(code) for code in re.findall(r"`((?:lethe|make) [^`\n]+)`", page))


def flat(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from flat(type(field.default), f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def shown(value: Any) -> str:
    if value in (None, ()):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_every_source_file_has_its_line_in_the_tree() -> None:
    listed = set(tree())
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            assert name.removesuffix("__init__.py") in listed, f"README's tree lacks {name}"


def test_every_line_of_the_tree_is_there() -> None:
    assert len(tree()) == len(set(tree()))
    for name in tree():
        assert (ROOT / name).is_dir() if name.endswith("/") else (ROOT / name).is_file(), name


def test_every_file_of_the_tree_is_in_the_repository() -> None:
    asked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip("not a repository")
    tracked = set(asked.stdout.splitlines())
    assert {name for name in tree() if not name.endswith("/")} <= tracked
    sources = {name for name in tracked if name.endswith(".py") and name.startswith(SOURCES)}
    assert {name.removesuffix("__init__.py") for name in sources if (ROOT / name).exists()} <= set(tree())


@pytest.mark.parametrize("name", ["eco", "guard", "load", "o3", "uld"])
def test_figures_are_those_that_were_measured(name: str) -> None:
    said = re.search(rf"<!-- figures of bench/results/{name}.json.*?-->\n(.*?)\n<!-- end of figures -->", README, re.S)
    assert said, "README has lost the place of its figures"
    result = ROOT / f"bench/results/{name}.json"
    if not result.exists():
        assert said[1] == "Not measured yet at this commit."
        return
    table = ["| figure | value | goal | holds |", "|---|---|---|---|"]
    for one in json.loads(result.read_text())["figures"]:
        value = "not known" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip()
        table.append(f"| {one['name']} | {value} | {one['goal']} | {'yes' if one['holds'] else '**no**'} |")
    assert said[1] == "\n".join(table), "put this between the marks:\n" + "\n".join(table)


def test_answers_are_those_of_the_demo_world() -> None:
    pairs = re.findall(r'^ask "(.+?)" +# (.+)$', README, re.M)
    assert len(pairs) >= 3
    for question, answer in pairs:
        person = next(one for one in make_world().people if one.name in question)
        lives = f"{person.name} lives in {person.attributes['city']}."
        assert answer in (lives, f"I have no information about {person.name}."), question


def test_aliases_are_those_of_the_demo_world() -> None:
    filed = re.findall(r"-d '(\{\"scope\".*?\})'", README)
    assert filed
    for body in map(json.loads, filed):
        person = next(one for one in make_world().people if one.name == body["subject"])
        assert set(body["aliases"]) <= set(person.aliases)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_exist_and_take_what_they_are_given(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    for name, *given in commands(page.read_text("utf-8")):
        if name == "make":
            assert given[0] in targets, given
        if name == "lethe":
            command: Any = get_command(app)
            while hasattr(command, "commands") and given:
                command = command.commands[given.pop(0)]
            command.make_context("lethe", given)  # raises on a missing argument or an unknown option


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_bodies_are_valid(page: Path) -> None:
    for command in commands(page.read_text("utf-8").replace("$ADMIN", "/admin/v1")):
        if "-d" not in command:
            continue
        body = command[command.index("-d") + 1]
        path = next(found[0] for word in command if (found := re.search(r"(/admin)?/v1/[\w/-]+", word)))
        BODIES[path].model_validate_json(body)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_call_is_described() -> None:
    application = FastAPI()
    for router in (service.router, admin.router):
        application.include_router(router)
    there = {(verb.upper(), path) for path, verbs in application.openapi()["paths"].items() for verb in verbs}
    there |= {("POST", route.path) for route in (*generate.routes, *responses.routes, *embeddings.routes)}
    said = set()
    for heading, prefix in (("## Public", ""), ("## Admin", "/admin/v1")):
        for row in rows(API, heading):
            if found := re.fullmatch(r"`([A-Z]+) (\S+)`", row[0]):
                said.add((found[1], prefix + found[2]))
    assert said == there


def test_the_page_of_parameters_is_the_table() -> None:
    said = (ROOT / "docs/parameters.md").read_text("utf-8")
    assert said == page(), "run: python -m gateway.params.page > docs/parameters.md"


def test_every_field_of_a_forget_request_is_described() -> None:
    assert [names(row[0])[0] for row in rows(API, "### A forget request")] == list(ForgetSpec.model_fields)


def test_every_setting_is_described_with_its_default() -> None:
    said = {names(row[0])[0]: row[1] for row in rows(OPERATOR, "## Settings")}
    assert said == {name: shown(default) for name, default in flat(Settings)}
    assert {name for row in rows(README, "## Settings") for name in names(row[0])} <= set(said)


def test_every_metric_is_described() -> None:
    said = {names(row[0])[0] for row in rows(OPERATOR, "## `/health`, `/ready`, `/metrics`")}
    there = {one.name + ("_total" if one.type == "counter" else "") for one in Meter().registry.collect()}
    assert said == there
