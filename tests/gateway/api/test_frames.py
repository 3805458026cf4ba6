import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Call, Delta, Ending, Pass, Sampling, TokenLogprob, ToolCall, Usage, Wire
from gateway.api.frames import ChatFrame, CompletionFrame
from gateway.engines import chunks
from gateway.engines.events import events
from gateway.stream import Stopped, reviewed
from guards.aliases import weigh
from guards.base import Conversation
from guards.lexicon import LexiconIndex
from guards.output import UNGUARDED, OutputGuard

CHAT = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "tiny"}
TEXT = CHAT | {"id": "cmpl-1", "object": "text_completion"}
USAGE = {**CHAT, "choices": [], "usage": {"prompt_tokens": 3, "total_tokens": 5, "completion_tokens": 2}}
END = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop", "stop_reason": None, "token_ids": None}
ENDING = Ending(END, USAGE | {"system_fingerprint": "v"}, silent=False)


def sse(event):
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def chat(delta, index=0, finish=None, **rest):
    last = {"stop_reason": None} if finish else {}
    return {
        "index": index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish,
        **last,
        "token_ids": None,
        **rest,
    }


def of_text(said, index=0, finish=None):
    return {"index": index, "text": said, "logprobs": None, "finish_reason": finish, "stop_reason": None}


def names():
    index = LexiconIndex()
    index.add("0", weigh("Ada Quill", ()))
    return OutputGuard(index.view(frozenset("0")))


GUARD = names()


async def sent(raw, cuts=(), guard=UNGUARDED, frame=None, n=1, **sampling):
    """What a client gets of these bytes, in the deltas that were shown too."""
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]

    async def parts():
        for left, right in pairwise(edges):
            yield raw[left:right]

    async def read():
        async for event in events(parts()):
            if event.data and event.data != b"[DONE]":
                for item in chunks.read(event, ENDING if isinstance(frame, ChatFrame) else None):
                    yield item

    frame = frame or ChatFrame("tiny", "logprobs" in sampling, True)
    call, shown = Call(Conversation.of("?"), Sampling(n=n, **sampling)), []
    try:
        async for item in reviewed(read(), call, guard, Pass()):
            shown += [(item, frame.event(item))]
    except Stopped:
        pass
    return shown


def said_in(events_, index=0):
    """What OpenAI's client would put together."""
    choices = [one for event in events_ for one in event["choices"] if one["index"] == index]
    return "".join(one["text"] if "text" in one else one["delta"].get("content") or "" for one in choices)


piece = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from([" Ada", " Quill", "Ad", ""])
answers = st.lists(st.lists(piece, max_size=8), min_size=1, max_size=3)
cuts = st.lists(st.integers(0, 5000), max_size=6)


@st.composite
def streams(draw):
    """A stream as vLLM would send it, its events in the order in which choices may come."""
    said, kind = draw(answers), draw(st.sampled_from(["chat", "text"]))
    queues = []
    for index, pieces in enumerate(said):
        if kind == "chat":
            own = [{**CHAT, "choices": [chat({"role": "assistant", "content": ""}, index)], "prompt_text": None}]
            own += [{**CHAT, "choices": [chat({"content": one}, index)], "unknown": 1} for one in pieces]
            own.append({**CHAT, "choices": [chat({}, index, "stop")]})
        else:
            own = [{**TEXT, "choices": [of_text(one, index)]} for one in pieces]
            own.append({**TEXT, "choices": [of_text("", index, "length")]})
        queues.append(own)
    mixed = []
    while any(queues):
        mixed.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    return kind, said, [*mixed, {**USAGE, "id": mixed[0]["id"], "object": mixed[0]["object"]}]


@settings(max_examples=200, deadline=None)
@given(streams(), cuts)
def test_an_untouched_stream_leaves_byte_for_byte_however_it_is_cut(stream, at):
    kind, said, came = stream
    raw = b"".join(map(sse, came))
    frame = (ChatFrame if kind == "chat" else CompletionFrame)("tiny", False, True)
    shown = asyncio.run(sent(raw, at, frame=frame, n=len(said)))
    assert b"".join(data for _, data in shown) == raw


@settings(max_examples=200, deadline=None)
@given(streams(), cuts)
def test_what_a_client_puts_together_is_what_the_guard_released(stream, at):
    kind, said, came = stream
    frame = (ChatFrame if kind == "chat" else CompletionFrame)("small", False, True)  # all is written anew
    shown = asyncio.run(sent(b"".join(map(sse, came)), at, GUARD, frame, len(said)))
    left = [json.loads(data[6:]) for _, data in shown]
    for index in range(len(said)):
        released = "".join(item.text for item, _ in shown if isinstance(item, Delta) and item.index == index)
        assert said_in(left, index) == released
        assert "".join(said[index]).startswith(released)
    assert all(event["model"] == "small" and event["id"] == came[0]["id"] for event in left)
    roles = [one["index"] for event in left for one in event["choices"] if "role" in one.get("delta", ())]
    assert len(roles) == len(set(roles))


async def test_where_the_guard_held_something_the_event_keeps_its_fields_and_no_old_value():
    odd = {**CHAT, "choices": [chat({"content": "Ada"}, secret="x")], "more": "secret"}
    end = {**CHAT, "choices": [chat({"content": "lia."}, finish="stop")], "system_fingerprint": "v"}
    shown = await sent(sse(odd) + sse(end), guard=GUARD)
    (event,) = [json.loads(data[6:]) for _, data in shown]
    assert event == {**CHAT, "choices": [chat({"content": "Adalia."}, finish="stop")], "system_fingerprint": "v"}


@pytest.mark.parametrize(
    ("delta", "choice"),
    [
        (Delta(0, "x"), chat({"content": "x"})),
        (Delta(1, "", opening=True), chat({"role": "assistant", "content": ""}, 1)),
        (Delta(0, "x", channel="reasoning"), chat({"reasoning": "x"})),
        (Delta(0, "", finish="stop"), chat({}, finish="stop")),
        (Delta(0, "x", finish="length"), chat({"content": "x"}, finish="length")),
        (
            Delta(0, "{}", channel="tool 1", tool=ToolCall("c", "find"), finish="tool_calls"),
            chat(
                {
                    "tool_calls": [
                        {"index": 1, "id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
                    ]
                },
                finish="tool_calls",
            ),
        ),
    ],
)
@pytest.mark.parametrize("came", [chat({"content": "secret"}), chat({"content": "secret"}, finish="length")])
def test_an_event_has_the_fields_of_its_kind_whatever_it_came_as(delta, choice, came):
    wire = Wire(b"", {**CHAT, "choices": [came]}, ENDING)
    data = ChatFrame("tiny", False).event(Delta(*[getattr(delta, name) for name in DELTA], wire=wire))
    event = json.loads(data[6:])
    assert event == {**CHAT, "choices": [choice]}
    assert list(event["choices"][0]) == list(choice)


DELTA = ("index", "text", "tokens", "finish", "channel", "tool", "opening", "usage")


def test_one_answer_of_two_generations_has_one_id_and_every_role_once():
    frame = ChatFrame("tiny", False, True)
    opening = Delta(0, "", opening=True, wire=Wire(b"data: 1\n\n", {**CHAT, "choices": [chat({"role": "assistant"})]}))
    assert frame.event(opening) == b"data: 1\n\n"
    other = {**CHAT, "id": "chatcmpl-2", "created": 9, "choices": [chat({"content": "x"})]}
    event = json.loads(frame.event(Delta(0, "x", wire=Wire(b"data: 2\n\n", other, ENDING)))[6:])
    assert (event["id"], event["created"]) == (CHAT["id"], 7)
    own = frame.event(Delta(0, "y"))
    assert b"role" not in own
    usage = json.loads(frame.event(Usage(3, 4, Wire(b"", ENDING.usage)))[6:])
    assert (usage["id"], usage["system_fingerprint"], usage["usage"]["total_tokens"]) == (CHAT["id"], "v", 7)


def test_log_probabilities_are_written_alike_whoever_gave_them():
    token = {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}
    wire = Wire(b"data: raw\n\n", {**CHAT, "choices": [chat({"content": "x"})]}, ENDING)
    delta = Delta(0, "x", (TokenLogprob("x", -0.5),), wire=wire)
    event = json.loads(ChatFrame("tiny", True).event(delta)[6:])
    assert event["choices"][0]["logprobs"] == {"content": [token]}
    silent = json.loads(ChatFrame("tiny", True).event(Delta(0, "x", wire=wire.changed()))[6:])
    assert silent["choices"][0]["logprobs"] is None


def test_a_usage_that_was_not_asked_for_is_nothing():
    assert ChatFrame("tiny", False).event(Usage(1, 2, Wire(b"data: raw\n\n", USAGE))) == b""
