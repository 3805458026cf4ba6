import asyncio

import httpx
import orjson
import pytest

from adapters.base import Delta, Sampling, Usage
from bench.asking import Bare, Public, each
from bench.reasoning import Said


async def test_so_many_are_asked_at_a_time_and_answers_are_in_order():
    busy, most, done = set(), [], []

    async def ask(what):
        busy.add(what)
        most.append(len(busy))
        await asyncio.sleep(0.01 / (1 + what))
        busy.discard(what)
        return -what

    assert await each(ask, range(7), lambda: done.append(1), 3) == [0, -1, -2, -3, -4, -5, -6]
    assert (max(most), len(done)) == (3, 7)
    most.clear()
    assert await each(ask, range(40), at_once=None) == [-one for one in range(40)]
    assert max(most) == 40
    assert await each(ask, ()) == []


async def test_where_one_fails_the_others_are_asked_no_more():
    asked, ended = [], []

    async def ask(what):
        asked.append(what)
        try:
            await asyncio.sleep(0 if what == 1 else 10)
        finally:
            ended.append(what)
        raise ConnectionError(what)

    with pytest.raises(ConnectionError):
        await each(ask, range(9), at_once=3)
    assert asked[:3] == [0, 1, 2]
    assert len(asked) <= 4  # one more may have had its turn
    assert set(ended) <= set(asked)
    await asyncio.sleep(0)
    assert len(asked) <= 4


class Counting:
    """Says with which seed each choice was drawn."""

    async def generate(self, call, plan):
        assert (plan.method, call.sampling.temperature) == ("pass", 1.0)
        for index in reversed(range(call.sampling.n)):
            yield Delta(index, "Hm.", channel="reasoning")
            yield Delta(index, "seed ")
            yield Delta(index, str(call.sampling.seed + index), channel="tool 0" if index else "content")
        yield Usage(1, 1)


async def test_no_draw_is_drawn_twice():
    assert await Bare(Counting()).draws("q", 128) == [Said("Hm.", f"seed {i}") for i in range(128)]
    assert await Bare(Counting()).draws("q", 200) == [Said("Hm.", f"seed {i}") for i in range(200)]


async def test_the_public_api_is_asked_for_as_many_with_other_seeds():
    def answer(request):
        body = orjson.loads(request.content)
        assert body["temperature"] == 1
        said = [{"message": {"content": f"<think>Hm.</think>seed {body['seed'] + i}"}} for i in range(body["n"])]
        return httpx.Response(200, json={"choices": said})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway") as http:
        assert await Public(http).draws("q", 128) == [Said("Hm.", f"seed {i}") for i in range(128)]
        assert await Public(http).draws("q", 20) == [Said("Hm.", f"seed {i}") for i in range(20)]


async def test_a_gateway_is_asked_greedily_unless_more_is_said():
    bodies = []

    def answer(request):
        bodies.append((request.url.path, orjson.loads(request.content)))
        return httpx.Response(200, json={"choices": [{"message": {"content": "said"}, "text": "went on"}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway") as http:
        public = Public(http, "m", 9)
        assert (await public.chat("q", "a", "r"))["choices"][0]["message"] == {"content": "said"}
        assert await public.complete([1, 2], max_tokens=3, stop=["."]) == "went on"
    shared = {"model": "m", "temperature": 0, "max_tokens": 9}
    messages = [{"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("user", "r"))]
    assert bodies == [
        ("/v1/chat/completions", shared | {"messages": messages}),
        ("/v1/completions", shared | {"prompt": [1, 2], "max_tokens": 3, "stop": ["."]}),
    ]


async def test_what_a_gateway_refuses_is_an_error_and_gives_its_place_back():
    places = asyncio.Semaphore(1)
    answer = httpx.MockTransport(lambda request: httpx.Response(503))
    async with httpx.AsyncClient(transport=answer, base_url="http://gateway") as http:
        for _ in range(2):
            with pytest.raises(httpx.HTTPStatusError):
                await Public(http, places=places).chat("q")


class Called:
    """Keeps the calls."""

    def __init__(self):
        self.calls = []

    async def generate(self, call, plan):
        self.calls.append(call)
        yield Delta(0, "said")


async def test_a_system_prompt_comes_before_conversations_and_bare_texts():
    engine = Called()
    bare = Bare(engine, 9, "Be brief.")
    assert [await bare.chat("q", "a", "r"), await bare.complete("He is")] == [Said("", "said")] * 2
    chat, text = engine.calls
    assert [(turn.role, turn.text) for turn in chat.conversation.turns] == [
        ("system", "Be brief."),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "r"),
    ]
    assert [turn.text for turn in text.conversation.turns] == ["Be brief.\nHe is"]
    assert (chat.raw, text.raw) == (False, True)
    assert chat.sampling == text.sampling == Sampling(9, 0.0)
