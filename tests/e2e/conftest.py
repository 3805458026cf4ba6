"""A real gateway process, the real openai client, the demo model, for whole lives."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from gateway.client import AdminClient
from gateway.demo.train import DEMO, ensure_model
from gateway.demo.world import World
from gateway.process import GatewayProcess
from tests.coming_and_going import client_of

MODEL = "lethe-demo"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these share one event loop, and the processes that live on it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def world() -> World:
    return DEMO.world()


@pytest.fixture(scope="session")
def trained(models_dir: Path) -> Path:
    ensure_model(models_dir)
    return models_dir


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """One gateway for all tests that leave it as they found it."""
    async with GatewayProcess(tmp_path_factory.mktemp("gateway"), trained) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def fresh(trained: Path, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway of one's own, to be killed."""
    async with GatewayProcess(tmp_path / "state", trained) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def client(gateway: GatewayProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(gateway) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def admin(gateway: GatewayProcess) -> AsyncIterator[AdminClient]:
    async with gateway.admin() as found:
        yield found


async def ask(client: openai.AsyncOpenAI, question: str, **more: Any) -> str:
    """The greedy answer."""
    answer = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], temperature=0, **more
    )
    return answer.choices[0].message.content or ""


async def streamed(client: openai.AsyncOpenAI, question: str) -> str:
    """The greedy answer, put together from its chunks."""
    chunks = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], temperature=0, stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
