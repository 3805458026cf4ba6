import asyncio
import socket
from contextlib import asynccontextmanager, nullcontext

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.base import EngineError, EngineRejected, EngineUnavailable
from gateway.engines.upstream import UpstreamEngine

GOOD = {
    "data": [{"index": 1, "embedding": [0.5]}, {"index": 0, "embedding": "AAAA"}],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}


@asynccontextmanager
async def embedding(answer, status=200):
    """An engine before a server that answers so, and what that was asked."""
    asked = []

    async def embeddings(request):
        asked.append(await request.json())
        return JSONResponse(answer, status) if isinstance(answer, dict) else Response(answer, status)

    listening = socket.create_server(("127.0.0.1", 0))
    app = Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    server.capture_signals = nullcontext
    task = asyncio.create_task(server.serve(sockets=[listening]))
    engine = UpstreamEngine([f"http://127.0.0.1:{listening.getsockname()[1]}/v1"], "big")
    try:
        yield engine, asked
    finally:
        await engine.close()
        server.should_exit = True
        await task


async def test_vectors_come_as_they_are_in_the_order_of_the_texts():
    async with embedding(GOOD) as (engine, asked):
        found = await engine.embed(("one", "two"), {"dimensions": 1})
    assert (found.vectors, found.prompt_tokens) == (("AAAA", [0.5]), 3)
    assert asked == [{"model": "big", "input": ["one", "two"], "dimensions": 1}]
    assert "AAAA" not in repr(found)


@pytest.mark.parametrize(
    ("answer", "status", "error", "param"),
    [
        ({}, 404, EngineRejected, "model"),
        ({}, 405, EngineRejected, "model"),
        ({"error": {"param": "dimensions", "message": "x"}}, 400, EngineRejected, "dimensions"),
        ({"error": {"param": "Mara Lindqvist"}}, 400, EngineRejected, None),
        ({}, 500, EngineUnavailable, None),
        (b"no json", 200, EngineError, None),
        ({"data": []}, 200, EngineError, None),
        ({**GOOD, "data": GOOD["data"][:1]}, 200, EngineError, None),
    ],
)
async def test_what_is_no_answer_is_an_error_of_ours(answer, status, error, param):
    async with embedding(answer, status) as (engine, _):
        with pytest.raises(error) as failed:
            await engine.embed(("one", "two"), {})
    assert getattr(failed.value, "param", None) == param
    assert "Mara" not in str(failed.value)
