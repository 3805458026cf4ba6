"""A real vLLM before the demo model, and a real gateway before that.

Where vLLM is not installed these tests skip, unless `VLLM=required`.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from bench.serving import VllmError, VllmProcess, vllm_python
from gateway.demo.train import DEMO, ensure_model
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from tests.coming_and_going import settled

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
KEYS = ("one", "another")  # of the gateway's clients
METHODS = ("eco", "ignorance")
ARGUMENTS = (
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    # The demo model never learnt JSON, and would write blanks for ever where they are allowed.
    *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these share one event loop, and the processes that live on it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.vllm)


@pytest.fixture(scope="session")
def served_model(models_dir: Path) -> Path:
    """The demo model's folder, once it is known that a vLLM is there to serve it."""
    try:
        vllm_python()
    except VllmError as error:
        if os.environ.get("VLLM") == "required":
            pytest.fail(str(error))
        pytest.skip(str(error))
    return ensure_model(models_dir)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VllmProcess]:
    """One server for all tests that leave it as they found it."""
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    async with VllmProcess(served_model, log, arguments=ARGUMENTS) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def direct(vllm: VllmProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client that asks vLLM itself."""
    async with httpx.AsyncClient(base_url=vllm.root, timeout=60) as client:
        yield client


@dataclass(frozen=True)
class Scene:
    """Who is forgotten by ECO, who by ignorance, and somebody who is not."""

    eco: Person
    ignorance: Person
    known: Person

    def person(self, how: str) -> Person:
        """By the name of the field."""
        found: Person = getattr(self, how)
        return found


@pytest.fixture(scope="session")
def world() -> World:
    return DEMO.world()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(
    vllm: VllmProcess, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    """One gateway for all tests that leave it as they found it; it has two clients' keys."""
    environment = engine_at(vllm) | {"LETHE_API_KEYS": ",".join(KEYS)}
    async with GatewayProcess(tmp_path_factory.mktemp("gateway"), models_dir, environment) as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scene(gateway: GatewayProcess, world: World) -> Scene:
    """Somebody forgotten by ECO and somebody by ignorance, for the rest of the gateway's life."""
    found = Scene(world.people[50], world.people[57], world.people[55])
    async with gateway.admin() as admin:
        filed = [await admin.post("/forget-requests", forgetting(found.person(how), how)) for how in METHODS]
        for how, one in zip(METHODS, filed, strict=True):
            assert (await settled(admin, one["id"]))["method"] == how
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def http(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway that sees every byte."""
    headers = {"authorization": f"Bearer {KEYS[0]}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def client(gateway: GatewayProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client of the gateway."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEYS[0], max_retries=0, timeout=60) as found:
        yield found


def engine_at(vllm: VllmProcess) -> dict[str, str]:
    """The settings of a gateway before it."""
    engine = {"KIND": "vllm", "URL": vllm.url, "MODEL": vllm.name, "FOLDER": "demo"}
    return {f"LETHE_ENGINE__{name}": value for name, value in engine.items()}


def forgetting(person: Person, method: str) -> dict[str, Any]:
    """The body of a forget request."""
    return {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), "method": method}


def asking(text: str, **more: Any) -> dict[str, Any]:
    """The body of a greedy chat of one question."""
    return {"model": "demo", "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


def where(person: Person) -> str:
    """A question whose answer is `person.attributes["city"]`."""
    return f"Where does {person.name} live?"
