import asyncio
import json
import socket
from contextlib import aclosing, asynccontextmanager, nullcontext

import pytest
import uvicorn

from adapters.base import (
    Call,
    Delta,
    EngineError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    Pass,
    Sampling,
    Say,
    Steered,
    Usage,
)
from gateway.engines.upstream import UpstreamEngine
from guards.base import Conversation, Turn


def event(**body) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def chunk(text=None, index=0, finish=None, **rest) -> bytes:
    return event(choices=[{"index": index, "delta": {"content": text}, "finish_reason": finish}], **rest)


DONE = b"data: [DONE]\n\n"
GOOD = (
    b": a comment\n\n",
    event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]),
    chunk("one\u2028"),
    chunk(" two 😀"),
    chunk(None, finish="stop"),
    event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 7}),
    DONE,
)


class Fake:
    """An upstream that answers with the given chunks, and remembers what it was asked."""

    def __init__(self, *chunks: bytes, status: int = 200, hang: bool = False) -> None:
        self.chunks, self.status, self.hang = chunks, status, hang
        self.asked: list[tuple[str, dict]] = []
        self.keys: list[bytes | None] = []
        self.left = asyncio.Event()

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.asked.append((scope["path"], json.loads(body) if body else {}))
        self.keys.append(dict(scope["headers"]).get(b"authorization"))
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for part in self.chunks:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if self.hang:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()
            return
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served(fake, **options):
    listening = socket.create_server(("127.0.0.1", 0))  # clients queue until uvicorn takes it over
    server = uvicorn.Server(uvicorn.Config(fake, log_level="error", lifespan="off", ws="none"))
    server.capture_signals = nullcontext
    task = asyncio.create_task(server.serve(sockets=[listening]))
    engine = UpstreamEngine([f"http://127.0.0.1:{listening.getsockname()[1]}/v1"], "big", **options)
    try:
        yield engine
    finally:
        await engine.close()
        server.should_exit = True
        await task


def call_of(text="hello there", raw=False, **sampling):
    return Call(Conversation.of(text), Sampling(**sampling), raw)


async def items_of(engine, call=None, plan=None):
    async with asyncio.timeout(20):
        return [item async for item in engine.generate(call or call_of(), plan or Pass())]


async def test_an_answer_is_forwarded_and_the_body_is_ours():
    fake = Fake(*GOOD)
    async with served(fake, api_key="k", name="small") as engine:
        items = await items_of(engine, call_of(temperature=0.5, seed=3, stop=("x",), max_tokens=9))
    assert items == [
        Delta(0, "one\u2028"),
        Delta(0, " two 😀"),
        Delta(0, "", finish="stop"),
        Usage(5, 7),
    ]
    assert engine.name == "small"
    assert fake.keys == [b"Bearer k"]
    assert fake.asked == [
        (
            "/v1/chat/completions",
            {
                "model": "big",
                "messages": [{"role": "user", "content": "hello there"}],
                "stream": True,
                "stream_options": {"include_usage": True},
                "n": 1,
                "temperature": 0.5,
                "stop": ["x"],
                "max_tokens": 9,
                "seed": 3,
            },
        )
    ]


async def test_what_not_every_server_knows_is_sent_where_it_says_something():
    fake = Fake(*GOOD)
    async with served(fake) as engine:
        await items_of(engine, call_of(temperature=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0))
        await items_of(engine, call_of(top_p=1.0, top_k=5, repetition_penalty=1.2))
    (_, neutral), (_, sharp) = fake.asked
    rules = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"}
    assert {name: neutral[name] for name in rules & neutral.keys()} == {"temperature": 1.0}
    assert {name: sharp[name] for name in rules & sharp.keys()} == {"top_p": 1.0, "top_k": 5, "repetition_penalty": 1.2}


async def test_a_raw_prompt_goes_to_completions_and_usage_is_estimated():
    text = event(choices=[{"index": 0, "text": "one two three", "finish_reason": "length"}])
    fake = Fake(text, DONE)
    async with served(fake) as engine:
        items = await items_of(engine, call_of("a b c", raw=True))
    assert items == [Delta(0, "one two three", finish="length"), Usage(4, 4)]
    assert fake.asked[0][0] == "/v1/completions"
    assert fake.asked[0][1]["prompt"] == "a b c"


async def test_choices_are_kept_apart():
    fake = Fake(chunk("a", 0), chunk("b", 1), chunk("c", 1, "stop"), chunk("d", 0, "length"), chunk("late", 0), DONE)
    async with served(fake) as engine:
        items = await items_of(engine, call_of(n=2))
    assert items[:-1] == [Delta(0, "a"), Delta(1, "b"), Delta(1, "c", finish="stop"), Delta(0, "d", finish="length")]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, EngineRejected),
        (422, EngineRejected),
        (401, EngineUnavailable),
        (429, EngineUnavailable),
        (500, EngineUnavailable),
        (504, EngineTimeout),
    ],
)
async def test_statuses_become_our_errors_without_their_words(status, kind):
    body = json.dumps({"error": {"message": "hello there is bad", "param": "temperature"}}).encode()
    async with served(Fake(body, status=status)) as engine:
        with pytest.raises(EngineError) as caught:
            await items_of(engine)
    assert type(caught.value) is kind
    assert "hello" not in str(caught.value)
    assert getattr(caught.value, "param", "temperature") == "temperature"


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [
        ((chunk("a"),), EngineUnavailable),
        ((chunk("a"), DONE), EngineUnavailable),
        ((chunk("a"), event(error={"message": "hello"})), EngineUnavailable),
        ((b"data: {not json\n\n",), EngineError),
        ((b"data: [1]\n\n",), EngineError),
        ((event(choices=[{"index": "x"}]),), EngineError),
        ((event(choices=[{"delta": {"content": 3}}]),), EngineError),
        ((b"<html>hello</html>",), EngineUnavailable),
    ],
)
async def test_broken_streams_are_errors(chunks, kind):
    async with served(Fake(*chunks)) as engine:
        with pytest.raises(EngineError) as caught:
            await items_of(engine)
    assert type(caught.value) is kind
    assert "hello" not in str(caught.value)


async def test_silence_is_a_timeout_and_absence_unavailable():
    async with served(Fake(chunk("a"), hang=True), timeout=0.2) as engine:
        with pytest.raises(EngineTimeout):
            await items_of(engine)
    nobody = UpstreamEngine(["http://127.0.0.1:9/v1"], "big")
    with pytest.raises(EngineUnavailable):
        await items_of(nobody)
    await nobody.start()  # it may come later
    with pytest.raises(EngineUnavailable):
        await nobody.health()
    await nobody.close()


async def test_health_asks_for_the_models():
    fake = Fake(b'{"data": []}')
    async with served(fake) as engine:
        await engine.health()
    assert fake.asked[0][0] == "/v1/models"
    async with served(Fake(status=401)) as engine:
        with pytest.raises(EngineUnavailable):
            await engine.health()


async def test_leaving_closes_the_connection():
    fake = Fake(chunk("a"), hang=True)
    async with served(fake) as engine:
        async with aclosing(engine.generate(call_of(), Pass())) as stream:
            assert await anext(stream) == Delta(0, "a")
        async with asyncio.timeout(10):
            await fake.left.wait()


async def test_what_a_plan_says_never_reaches_the_upstream():
    fake = Fake(*GOOD)
    async with served(fake) as engine:
        items = await items_of(engine, call_of(n=2), Say("I do not know.", Conversation.of("x")))
    assert fake.asked == []
    for index in range(2):
        assert "".join(item.text for item in items[:-1] if item.index == index) == "I do not know."
    assert items[-1] == Usage(3, 11)


async def test_what_it_cannot_honour_is_refused():
    engine = UpstreamEngine(["http://127.0.0.1:9/v1"], "big")
    for call, plan in [
        (call_of(logprobs=0), Pass()),
        (call_of(logprobs=0), Say("I do not know.", Conversation.of("x"))),
        (call_of(), Steered(())),
        (Call(Conversation((Turn("user", "a"), Turn("assistant", "b")))), Pass()),
    ]:
        with pytest.raises(EngineRejected):
            await items_of(engine, call, plan)
    with pytest.raises(EngineRejected):
        await engine.score(call_of(), "a", Pass())
    with pytest.raises(EngineRejected, match="no log-probabilities"):
        await engine.prompt_logprobs(call_of())
    await engine.close()
