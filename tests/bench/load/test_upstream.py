import asyncio
import json
from dataclasses import asdict

import aiohttp
import pytest

from bench.load.upstream import MARK, Behaviour


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


def _events(body):
    return [line.removeprefix("data: ") for line in body.split("\n\n") if line]


@pytest.mark.parametrize(
    ("path", "kind"), [("chat/completions", "chat.completion"), ("completions", "text_completion")]
)
async def test_a_stream_says_what_the_whole_answer_says(mock, http, path, kind):
    url = f"{mock[1]}/v1/{path}"
    async with http.post(url, json={}) as response:
        whole = await response.json()
    async with http.post(url, json={"stream": True, "stream_options": {"include_usage": True}}) as response:
        *events, done = _events(await response.text())
    said = [choice for event in map(json.loads, events) for choice in event["choices"]]
    texts = [choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in said]
    (choice,) = whole["choices"]
    text = choice.get("text") or choice["message"]["content"]
    assert (whole["object"], done) == (kind, "[DONE]")
    assert "".join(texts) == text
    assert text.startswith(MARK)
    assert len(text.split()) == whole["usage"]["completion_tokens"] == 4
    assert [choice["finish_reason"] for choice in said][-2:] == [None, "stop"]
    assert json.loads(events[-1])["usage"] == whole["usage"]


async def test_usage_is_streamed_only_where_it_is_asked_for(mock, http):
    async with http.post(f"{mock[1]}/v1/chat/completions", json={"stream": True}) as response:
        assert "usage" not in await response.text()


async def test_behaviour_is_read_and_replaced(mock, http):
    how = asdict(Behaviour(tokens=7, fault="refuse"))
    async with http.put(f"{mock[1]}/behaviour", json=how) as response:
        assert await response.json() == how
    async with http.post(f"{mock[1]}/v1/completions", json={}) as response:
        assert response.status == 503
    async with http.get(f"{mock[1]}/behaviour") as response:
        assert await response.json() == {**how, "seen": 1, "open": 0}


@pytest.mark.parametrize(
    ("fault", "outcome"), [("none", "whole"), ("refuse", "refused"), ("cut", "broken"), ("hang", "unreachable")]
)
async def test_faults_are_seen_by_the_driver(mock, client, fault, outcome):
    mock[0].behaviour = Behaviour(tokens=4, fault=fault)
    for stream in (True, False):
        assert (await client.ask("a question", stream=stream)).outcome == outcome


async def test_nothing_is_open_once_a_client_gave_up(mock, client):
    mock[0].behaviour = Behaviour(fault="hang")
    await client.ask("a question", stream=True)
    await client.__aexit__()
    while mock[0].open:
        await asyncio.sleep(0.001)
    assert mock[0].seen == 1
