from types import SimpleNamespace

import httpx
import orjson
import pytest

from bench.uld import vllm

SERVER = SimpleNamespace(name="demo", url="http://vllm/v1")


def client(tokens, seen):
    def answer(request):
        seen.append(orjson.loads(request.content))
        return httpx.Response(200, json={"usage": {"completion_tokens": tokens}})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_streams_are_as_long_and_each_is_asked_for_as_its_own():
    seen = []
    async with client(vllm._TOKENS, seen) as http:
        assert await vllm._step(http, SERVER, [{}, {"vllm_xargs": {"lethe_uld": "[]"}}]) > 0
    assert {body["max_tokens"] for body in seen} == {vllm._TOKENS}
    assert all(body["ignore_eos"] for body in seen)
    assert [body.get("vllm_xargs") for body in seen] == [None, {"lethe_uld": "[]"}]
    assert len({body["prompt"] for body in seen}) == 2


async def test_a_stream_that_was_ended_is_not_taken_for_a_quick_one():
    async with client(3, []) as http:
        with pytest.raises(AssertionError, match="ended"):
            await vllm._step(http, SERVER, [{}])
