import json
from contextlib import suppress

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Sampling
from gateway.errors import BadRequest
from gateway.params import ChatBody, CompletionBody, read
from gateway.settings import LimitSettings
from guards.base import Turn

LIMITS = LimitSettings()
SECRET = "Mara Lindqvist"
HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields):
    return read(ChatBody, orjson.dumps({"model": "m", "messages": HELLO, **fields}))


def completion(**fields):
    return read(CompletionBody, orjson.dumps({"model": "m", "prompt": "hello", **fields}))


def refusal(make):
    with pytest.raises(BadRequest) as refused:
        make()
    assert SECRET not in str(refused.value)
    return refused.value.param


def test_what_is_not_said_is_the_models_own():
    assert chat().call(LIMITS).sampling == Sampling()
    assert completion().call(LIMITS).sampling == Sampling(max_tokens=16)
    assert completion().call(LIMITS).raw
    assert not chat().call(LIMITS).raw


def test_nulls_are_defaults():
    nulls = dict.fromkeys(set(ChatBody.model_fields) - {"model", "messages"})
    assert chat(**nulls).call(LIMITS).sampling == Sampling()


def test_every_sampling_parameter_arrives():
    given_ = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": -1,
        "min_p": 0.1,
        "n": 2,
        "seed": -7,
        "stop": ["a", "b"],
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "repetition_penalty": 1.1,
        "max_tokens": 5,
        "max_completion_tokens": 6,
        "logprobs": True,
        "top_logprobs": 3,
    }
    assert chat(**given_).call(LIMITS).sampling == Sampling(
        max_tokens=6,
        temperature=0.0,
        top_p=0.5,
        top_k=0,
        min_p=0.1,
        seed=-7,
        stop=("a", "b"),
        n=2,
        logprobs=3,
        presence_penalty=1.0,
        frequency_penalty=-1.0,
        repetition_penalty=1.1,
    )
    assert chat(stop="a").call(LIMITS).sampling.stop == ("a",)
    assert chat(logprobs=True).call(LIMITS).sampling.logprobs == 0
    assert chat(logprobs=False).call(LIMITS).sampling.logprobs is None


def test_parts_are_joined_and_developers_are_systems():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    body = chat(messages=[{"role": "developer", "content": "x"}, {"role": "user", "content": parts}])
    assert body.call(LIMITS).conversation.turns == (Turn("system", "x"), Turn("user", "one\ntwo"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"colour": 1}, "colour"),
        ({SECRET: 1}, "body"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": SECRET}, "messages"),
        ({"messages": [{"role": "wizard", "content": SECRET}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": SECRET}}]}]}, None),
        ({"messages": [{"role": "user", "content": SECRET, "prefix": True}]}, "messages[0].prefix"),
        ({"temperature": "0"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
        ({"store": True}, "store"),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ],
)
def test_a_bad_chat_names_the_field_and_repeats_no_text(fields, param):
    found = refusal(lambda: chat(**fields).call(LIMITS))
    assert found == param if param else found.startswith("messages[0].content[0]")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1]]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": HELLO}, "messages"),
    ],
)
def test_a_bad_completion_names_the_field(fields, param):
    assert refusal(lambda: completion(**fields).call(LIMITS)).split("[")[0] == param


def test_a_prompt_may_stand_in_a_list():
    assert completion(prompt=["hi"]).call(LIMITS).conversation.turns == (Turn("user", "hi"),)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"nonsense",
        b"[]",
        b'"model"',
        b"null",
        b'{"model": NaN}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","temperature":1e999}',
        b"[" * 5_000 + b"]" * 5_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"model":"m","messages":[],"seed":' + b"9" * 5_000 + b"}",
    ],
    ids=range(12),
)
def test_what_is_no_request_is_a_400(raw):
    refusal(lambda: read(ChatBody, raw))


def test_the_last_of_two_equal_keys_is_the_one_that_guards_and_model_read():
    raw = b'{"model":"m","messages":[{"role":"user","content":"first"}],"messages":[{"role":"user","content":"last"}]}'
    assert read(ChatBody, raw).call(LIMITS).conversation.turns == (Turn("user", "last"),)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**65) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([*ChatBody.model_fields, *CompletionBody.model_fields, "tools", "echo"]) | st.text(max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, json_values, max_size=6), st.booleans())
def test_any_json_object_is_a_call_or_a_400_that_names_its_field(fields, complete):
    whole = {"model": "m", "messages": HELLO, **fields} if complete else fields
    for kind in (ChatBody, CompletionBody):
        try:
            read(kind, json.dumps(whole).encode()).call(LIMITS)
        except BadRequest as refused:
            root = (refused.param or "").split(".")[0].split("[")[0]
            assert not root or root == "body" or root in {*whole, *kind.model_fields}


@settings(max_examples=100)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_call_or_a_400(raw):
    with suppress(BadRequest):
        read(ChatBody, raw)
