import asyncio
import json

import pytest

from adapters.base import Delta, EngineError, EngineRejected, EngineTimeout, EngineUnavailable, TokenLogprob, Usage
from gateway.engines.scripted import ScriptedEngine
from gateway.settings import LimitSettings

SECRET = "Ada Quill"
IGNORANCE = "I don't have any information about Ada Quill."


class Plays(ScriptedEngine):
    """Says exactly these events to whatever passes."""

    def __init__(self, *events):
        super().__init__()
        self.events = events

    async def generate(self, call, plan):
        if plan.method != "pass":
            async for event in super().generate(call, plan):
                yield event
            return
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event


def events_of(response):
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


async def test_a_chat(gateway):
    response = await gateway().chat()
    body = response.json()
    assert response.status_code == 200
    assert body["id"].startswith("chatcmpl-")
    assert (body["object"], body["model"]) == ("chat.completion", "scripted")
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A plain answer.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


async def test_a_completion(gateway):
    body = (await gateway().complete()).json()
    assert (body["object"], body["choices"][0]["text"]) == ("text_completion", "A plain answer.")
    assert body["id"].startswith("cmpl-")


async def test_a_touched_question_is_answered_in_the_same_shape(gateway):
    gate = gateway()
    plain, touched = (await gate.chat()).json(), (await gate.chat(f"Who is {SECRET}?")).json()
    assert touched["choices"][0]["message"]["content"] == IGNORANCE

    def shape(value):
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(item) for item in value] if isinstance(value, list) else type(value)

    assert shape(touched) == shape(plain)
    assert touched["choices"][0]["finish_reason"] == "stop"
    assert gate.counted("lethe_decisions_total", decision="touched") == 1


async def test_headers_tell_nothing(gateway):
    gate = gateway()
    plain, touched = await gate.chat(), await gate.chat(f"Who is {SECRET}?")
    assert set(plain.headers) == set(touched.headers)


async def test_a_stream_is_the_same_answer(gateway):
    gate = gateway()
    events = events_of(await gate.chat(stream=True, stream_options={"include_usage": True}))
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1])
    assert said == "A plain answer."
    assert [e["choices"][0]["finish_reason"] for e in events[:-1]][-1] == "stop"
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == (await gate.chat()).json()["usage"]


async def test_usage_is_streamed_only_when_asked_for(gateway):
    assert all("usage" not in event for event in events_of(await gateway().chat(stream=True)))


async def test_a_stream_of_completions(gateway):
    events = events_of(await gateway().complete(stream=True))
    assert "".join(event["choices"][0]["text"] for event in events) == "A plain answer."


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_keep_their_index(gateway, stream):
    said = [Delta(1, "b"), Delta(0, "a"), Delta(1, "d", finish="length"), Delta(0, "c", finish="stop")]
    gate = gateway(Plays(*said, Usage(1, 4)))
    response = await gate.chat(n=2, stream=stream)
    if not stream:
        shown = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in response.json()["choices"]]
        assert shown == [(0, "ac", "stop"), (1, "bd", "length")]
        return
    chunks = [event["choices"][0] for event in events_of(response)]
    for index, text, finish in [(0, "ac", "stop"), (1, "bd", "length")]:
        own = [chunk for chunk in chunks if chunk["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert "".join(chunk["delta"].get("content", "") for chunk in own) == text
        assert [chunk["finish_reason"] for chunk in own if chunk["finish_reason"]] == [finish]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_forgotten_name_in_an_answer_never_leaves(gateway, stream):
    engine = ScriptedEngine(default=f"It was {SECRET}, the baker.")
    response = await gateway(engine).chat("Who was it?", n=2, stream=stream, logprobs=True, top_logprobs=1)
    assert response.status_code == 200
    assert "Ada" not in response.text
    assert "baker" not in response.text
    assert "I don't have any information about that." in response.text or stream
    assert engine.running == 0


async def test_logprobs_in_chat(gateway):
    token = TokenLogprob("Hé", -0.5, (("Hé", -0.5), ("Ho", -1.5)))
    gate = gateway(Plays(Delta(0, "Hé", (token,), "stop"), Usage(1, 1)))
    (content,) = (await gate.chat(logprobs=True, top_logprobs=2)).json()["choices"][0]["logprobs"]["content"]
    assert content["token"] == "Hé"
    assert content["bytes"] == list("Hé".encode())
    assert [one["token"] for one in content["top_logprobs"]] == ["Hé", "Ho"]
    assert (await gate.chat()).json()["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_of_completions_have_offsets(gateway, stream):
    tokens = [TokenLogprob(text, -1.0, ((text, -1.0),)) for text in ("one", " two", " three")]
    said = [Delta(0, token.text, (token,)) for token in tokens]
    gate = gateway(Plays(*said, Delta(0, "", finish="stop"), Usage(1, 3)))
    response = await gate.complete(logprobs=1, stream=stream)
    found = (
        [event["choices"][0]["logprobs"] for event in events_of(response)]
        if stream
        else [response.json()["choices"][0]["logprobs"]]
    )
    assert [at for scored in found for at in scored["text_offset"]] == [0, 3, 7]
    assert [text for scored in found for text in scored["tokens"]] == ["one", " two", " three"]


@pytest.mark.parametrize(
    ("error", "status", "param"),
    [
        (EngineRejected("too long", "messages"), 400, "messages"),
        (EngineUnavailable(SECRET), 503, None),
        (EngineTimeout(SECRET), 504, None),
        (EngineError(SECRET), 502, None),
        (RuntimeError(SECRET), 500, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_fails_at_once_is_a_status(gateway, error, status, param, stream):
    response = await gateway(Plays(error)).chat(stream=stream)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert SECRET not in response.text


@pytest.mark.parametrize("error", [EngineUnavailable(SECRET), RuntimeError(SECRET)])
async def test_an_engine_that_fails_in_mid_stream_is_an_event(gateway, error, caplog):
    gate = gateway(Plays(Delta(0, "one"), error))
    events = events_of(await gate.chat(stream=True))
    assert events[-1]["error"]["type"] == "server_error"
    assert SECRET not in str(events)
    assert ("RuntimeError" in caplog.text) == isinstance(error, RuntimeError)
    assert SECRET not in caplog.text
    assert gate.core.running == 0


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b'{"model":"other","messages":[{"role":"user","content":"x"}]}', 404, "model"),
        (b'{"model":"scripted","messages":[]}', 400, "messages"),
        (b'{"model":"scripted","messages":[{"role":"user","content":"\\ud800"}]}', 400, None),
        (b'{"model":"scripted","messages":[{"role":"user","content":"x"}],"n":99}', 400, "n"),
        (b'{"model":"scripted","messages":[{"role":"user","content":"' + b"x" * 20_000 + b'"}]}', 413, None),
    ],
)
async def test_a_request_that_is_refused_is_counted_and_reaches_no_engine(gateway, body, status, param):
    gate = gateway()
    response = await gate.http.post("/v1/chat/completions", content=body)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert gate.engine.calls == 0
    assert gate.counted("lethe_decisions_total", decision="refused") == 1


async def test_a_body_of_unknown_length_is_limited_too(gateway):
    async def endless():
        for _ in range(10_000):
            yield b"x" * 1_000

    assert (await gateway().http.post("/v1/chat/completions", content=endless())).status_code == 413


async def test_keys(gateway):
    gate = gateway(api_keys=("client-key",))
    assert (await gate.chat()).status_code == 401
    assert gate.counted("lethe_decisions_total", decision="refused") == 1
    for key in ("client-key", "admin-key"):
        gate.http.headers["authorization"] = f"Bearer {key}"
        assert (await gate.chat()).status_code == 200


async def test_beyond_its_capacity_it_refuses_and_recovers(gateway):
    gate = gateway(ScriptedEngine(default="slow", delay=0.05), limits=LimitSettings(concurrency=1))
    first = asyncio.create_task(gate.chat())
    while not gate.core.running:
        await asyncio.sleep(0)
    refused = await gate.chat()
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert (await first).status_code == 200
    assert (await gate.chat()).status_code == 200


@pytest.mark.parametrize("limit", ["concurrency", "classifying"])
async def test_of_many_at_once_no_more_are_answered_than_there_is_room_for(gateway, limit):
    gate = gateway(ScriptedEngine(default="slow", delay=0.05), limits=LimitSettings(**{limit: 2}))
    told = [response.status_code for response in await asyncio.gather(*(gate.chat() for _ in range(8)))]
    assert sorted(told) == [200] * 2 + [429] * 6
    assert gate.counted("lethe_decisions_total", decision="refused") == 6
    assert gate.counted("lethe_decisions_total", decision="pass") == 2


class Connection:
    """A client by hand, that can go away; `sent` is what reached it."""

    def __init__(self, path="/v1/chat/completions", **fields):
        body = {"model": "scripted", "messages": [{"role": "user", "content": "Hello?"}], **fields}
        self.inbox = asyncio.Queue()
        self.inbox.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
        self.sent = []
        self.begun = asyncio.Event()
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "scheme": "http",
            "server": ("lethe", 80),
            "client": ("test", 1),
            "root_path": "",
        }

    async def send(self, message):
        self.sent.append(message)
        if message.get("body"):
            self.begun.set()

    def leave(self):
        self.inbox.put_nowait({"type": "http.disconnect"})

    async def serve(self, gate):
        await asyncio.wait_for(gate.app(self.scope, self.inbox.get, self.send), 5)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_before_the_first_word_stops_the_engine(gateway, stream, caplog):
    gate = gateway(ScriptedEngine(hang_at=0))
    client = Connection(stream=stream)
    serving = asyncio.create_task(client.serve(gate))
    while not gate.engine.running:
        await asyncio.sleep(0)
    client.leave()
    await serving
    assert gate.engine.running == gate.core.running == 0
    assert not caplog.records


async def test_a_client_that_goes_away_in_mid_stream_stops_the_engine(gateway, caplog):
    gate = gateway(ScriptedEngine(default="one two three", hang_at=1))
    client = Connection(stream=True)
    serving = asyncio.create_task(client.serve(gate))
    await client.begun.wait()
    assert gate.engine.running == 1
    client.leave()
    await serving
    assert gate.engine.running == gate.core.running == 0
    assert not caplog.records


@pytest.mark.parametrize("at", [1, 2])
async def test_a_server_that_cannot_send_stops_the_engine(gateway, at, caplog):
    gate = gateway(ScriptedEngine(default="one two three", hang_at=2))
    client = Connection(stream=True)

    async def send(message):
        client.sent.append(message)
        if len(client.sent) == at:
            raise BrokenPipeError

    client.send = send
    await client.serve(gate)
    while gate.engine.running:  # a generator that never began is closed by its collection
        await asyncio.sleep(0)
    assert gate.core.running == 0
    assert not caplog.records


async def test_a_client_that_goes_away_in_its_upload_is_no_error(gateway, caplog):
    gate = gateway()
    client = Connection()
    client.inbox = asyncio.Queue()
    client.inbox.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    client.leave()
    await client.serve(gate)
    assert gate.engine.calls == 0
    assert not caplog.records
    assert client.sent[0]["status"] == 499


async def test_a_cut_in_the_middle_closes_the_answer_in_one_piece(gateway):
    gate = gateway(ScriptedEngine(default=f"It was {SECRET}, the baker."))
    events = events_of(await gate.chat("Who was it?", stream=True))
    said = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert said == "It was \nI don't have any information about that."
    assert sum(event["choices"][0]["finish_reason"] == "stop" for event in events) == 1
