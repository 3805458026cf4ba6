import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Delta, Ending, EngineError, EngineRejected, EngineUnavailable, TokenLogprob, ToolCall, Usage
from gateway.engines import chunks
from gateway.engines.events import Event

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "demo"}
ENDING = Ending({}, {})


def event_of(*choices, **rest):
    data = json.dumps({**HEAD, "choices": list(choices), **rest}, ensure_ascii=False).encode()
    return Event(b"data: " + data + b"\n\n", data)


def chat(delta, index=0, finish=None, **rest):
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None, **rest}


def text(said, index=0, finish=None, **rest):
    return {"index": index, "text": said, "logprobs": None, "finish_reason": finish, "stop_reason": None, **rest}


def called(arguments, index=0, **rest):
    return {"index": index, "function": {"arguments": arguments, **rest.pop("function", {})}, **rest}


BEGUN = {"id": "c1", "type": "function", "index": 1, "function": {"name": "find"}}


@pytest.mark.parametrize(
    ("choice", "deltas"),
    [
        (chat({"role": "assistant", "content": ""}), [Delta(0, "", opening=True)]),
        (chat({"content": "Ma"}, 1), [Delta(1, "Ma")]),
        (chat({"content": " We"}, finish="length", stop_reason=None), [Delta(0, " We", finish="length")]),
        (chat({}, finish="stop"), [Delta(0, "", finish="stop")]),
        (chat({"content": ""}, finish="stop"), [Delta(0, "", finish="stop")]),
        (chat({"content": ""}), [Delta(0, "")]),  # half a character
        (chat({}), [Delta(0, "")]),
        (chat({"content": None, "tool_calls": [BEGUN]}), [Delta(0, "", channel="tool 1", tool=ToolCall("c1", "find"))]),
        (chat({"tool_calls": [called("8", 1)]}), [Delta(0, "8", channel="tool 1")]),
        (chat({}, finish="tool_calls"), [Delta(0, "", finish="tool_calls")]),
        (chat({"reasoning": "Hm"}), [Delta(0, "Hm", channel="reasoning")]),
        (chat({"reasoning_content": "Hm"}), [Delta(0, "Hm", channel="reasoning")]),
        (
            chat({"reasoning": "Hm", "content": "So", "tool_calls": [called("{}")]}, finish="stop"),
            [
                Delta(0, "Hm", channel="reasoning"),
                Delta(0, "{}", channel="tool 0"),
                Delta(0, "So", finish="stop"),
            ],
        ),
        (text("Ma"), [Delta(0, "Ma")]),
        (text("", 1, "stop"), [Delta(1, "", finish="stop")]),
        (chat({"content": "x"}, surprise={"new": 1}), [Delta(0, "x")]),
    ],
)
def test_what_an_event_says(choice, deltas):
    event = event_of(choice, unknown=[1])
    found = chunks.read(event, ENDING)
    assert found == deltas
    assert [one.wire.raw for one in found] == ([event.raw] if len(found) == 1 else [b""] * len(found))
    assert all(one.wire.event == json.loads(event.data) for one in found)
    assert all(one.wire.ending is ENDING for one in found)


@pytest.mark.parametrize(
    "choice",
    [
        chat({"content": "x", "refusal": "Mabet"}),
        chat({"refusal": "Mabet"}),
        chat({"content": "x", "audio": {"transcript": ["Mabet"]}}),
        chat({"reasoning": "Hm", "reasoning_content": "Mabet"}),
        chat({"role": "Mabet"}),
        chat({"content": "x"}, more="Mabet"),
        chat({"content": "x"}, text="Mabet"),
        chat({"tool_calls": [called("8", 1, type="Mabet")]}),
        chat({"tool_calls": [called("8", 1, function={"more": "Mabet"})]}),
        {**chat({"content": "x"}), "logprobs": {"refusal": [{"token": "Mabet"}]}},
        text("x", more="Mabet"),
    ],
)
def test_an_event_that_says_more_than_was_read_is_not_passed_on(choice):
    (found,) = chunks.read(event_of(choice))
    assert found.wire.raw == b""
    assert "Mabet" not in found.text


def test_a_tools_name_is_read_without_an_id():
    (found,) = chunks.read(event_of(chat({"tool_calls": [called("", function={"name": "Mabet"})]})))
    assert found.tool == ToolCall("", "Mabet")


def test_the_usage_is_an_event_of_its_own_and_none_may_say_nothing():
    (usage,) = chunks.read(event_of(usage={"prompt_tokens": 16, "total_tokens": 25, "completion_tokens": 9}))
    assert usage == Usage(16, 9)
    assert usage.wire.raw
    assert chunks.read(event_of()) == []
    assert chunks.read(event_of(usage=None)) == []


def test_several_choices_and_a_usage_in_one_event_leave_in_shapes_of_their_own():
    found = chunks.read(event_of(chat({"content": "a"}), chat({"content": "b"}, 1), usage={"prompt_tokens": 1}))
    assert found == [Delta(0, "a"), Delta(1, "b"), Usage(1, 0)]
    assert not any(one.wire.raw for one in found)


def test_log_probabilities_of_both_endpoints():
    token = {"token": "Ma", "logprob": -0.1, "bytes": [77, 97]}
    scored = {"content": [{**token, "top_logprobs": [token, {**token, "token": "I", "logprob": -6.5}]}]}
    expected = (TokenLogprob("Ma", -0.1, (("Ma", -0.1), ("I", -6.5))),)
    (delta,) = chunks.read(event_of(chat({"content": "Ma"}, logprobs=scored)))
    assert delta.tokens == expected
    (half,) = chunks.read(event_of(chat({"content": ""}, logprobs=scored)))
    assert (half.text, half.tokens, half.opening) == ("", expected, False)
    plain = {"tokens": ["Ma"], "token_logprobs": [-0.1], "top_logprobs": [{"I": -6.5, "Ma": -0.1}], "text_offset": [0]}
    (delta,) = chunks.read(event_of(text("Ma", logprobs=plain)))
    assert delta.tokens == expected


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error": {"message": "Grammar error: secret", "code": 400}}', EngineRejected),
        (b'{"error": {"message": "secret", "code": 500}}', EngineUnavailable),
        (b'{"error": "secret"}', EngineUnavailable),
        (b"[1]", EngineError),
        (b"7", EngineError),
        (b"secret", EngineError),
        (b'{"choices": [{"index": 0, "delta": {"content": "secret"}}]}', EngineError),  # no id
        (event_of({"index": 0}).data, EngineError),
        (event_of({"index": None, "delta": {}}).data, EngineError),
        (event_of(chat({"content": ["secret"]})).data, EngineError),
        (event_of(chat({"tool_calls": [{"function": {"arguments": {"a": "secret"}}}]})).data, EngineError),
        (event_of(chat({}, finish="abort")).data, EngineUnavailable),
        (event_of(chat({}, finish=["stop"])).data, EngineError),
        (event_of(usage={"completion_tokens": 3}).data, EngineError),
        (event_of(usage=[3]).data, EngineError),
    ],
)
def test_what_is_no_such_event_is_an_error_that_quotes_nothing(body, error):
    with pytest.raises(EngineError) as caught:
        chunks.read(Event(b"data: " + body + b"\n\n", body))
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)


FIELDS = [
    "choices",
    "delta",
    "content",
    "index",
    "finish_reason",
    "usage",
    "tool_calls",
    "function",
    "logprobs",
    "prompt_tokens",
    "completion_tokens",
    "text",
    "id",
    "created",
    "model",
    "error",
    "role",
    "token",
    "message",
    "name",
    "arguments",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.sampled_from(["stop", "x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)


@given(values)
def test_whatever_comes_is_read_or_is_an_engine_error(value):
    data = json.dumps(value).encode()
    for read in (lambda: chunks.read(Event(b"", data)), lambda: chunks.read_whole(data)):
        with suppress(EngineError):
            assert all(isinstance(one, Delta | Usage) for one in read())


def test_a_whole_answer_says_what_its_events_would():
    message = {
        "role": "assistant",
        "content": "So",
        "reasoning": "Hm",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "look", "arguments": "[]"}},
        ],
    }
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    body = json.dumps({**HEAD, "choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode()
    assert chunks.read_whole(body) == [
        Delta(0, "Hm", channel="reasoning"),
        Delta(0, "{}", channel="tool 0", tool=ToolCall("a", "find")),
        Delta(0, "[]", channel="tool 1", tool=ToolCall("b", "look")),
        Delta(0, "So", finish="tool_calls"),
        Usage(3, 4),
    ]


def test_tokens_are_counted_where_their_ids_came():
    one, three = chat({"content": "a"}), chat({"content": "abc"}) | {"token_ids": [1, 2, 3]}
    counts = [chunks.tokens_in(delta) for choice in (one, three) for delta in chunks.read(event_of(choice))]
    assert counts == [1, 3]
    assert chunks.tokens_in(Delta(0, "a")) == 1


def test_a_completion_in_the_shape_of_a_chat():
    (delta,) = chunks.read(event_of(text("a", token_ids=[4, 5]), id="cmpl-1f", object="text_completion"), ENDING)
    shaped = chunks.as_chat(delta.wire)
    assert shaped.event == {
        **HEAD,
        "id": "chatcmpl-1f",
        "choices": [{"index": None, "delta": None, "logprobs": None, "finish_reason": None, "token_ids": [4, 5]}],
    }
    assert (shaped.raw, shaped.ending) == (b"", ENDING)
    (usage,) = chunks.read(event_of(id="cmpl-1f", usage={"prompt_tokens": 1}, system_fingerprint="v"), ENDING)
    assert chunks.as_chat(usage.wire).event == {
        **HEAD,
        "id": "chatcmpl-1f",
        "choices": [],
        "usage": {"prompt_tokens": 1},
        "system_fingerprint": "v",
    }
    opening = chunks.opening(1, delta.wire)
    assert (opening.index, opening.opening, opening.wire.event["id"]) == (1, True, "chatcmpl-1f")
