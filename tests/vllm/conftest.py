"""A real vLLM before the demo model. Where it is not installed these tests skip, unless `VLLM=required`."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from bench.serving import VllmError, VllmProcess, vllm_python
from gateway.demo.train import ensure_model

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
