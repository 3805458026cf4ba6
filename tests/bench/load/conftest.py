import asyncio
from contextlib import asynccontextmanager

import pytest
import uvicorn

from bench.load.drive import Client, Target
from bench.load.servers import free_port
from bench.load.upstream import Behaviour, MockUpstream


@asynccontextmanager
async def _served(app, port):
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def mock():
    """A mock upstream that answers with four tokens, and its address."""
    app, port = MockUpstream(Behaviour(tokens=4)), free_port()
    async with _served(app, port):
        yield app, f"http://127.0.0.1:{port}"


@pytest.fixture
async def client(mock):
    async with Client(Target("mock", f"{mock[1]}/v1", "mock"), timeout_s=0.5) as client:
        yield client
