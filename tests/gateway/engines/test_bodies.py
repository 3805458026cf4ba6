import json

import pytest

from adapters.base import Call, Sampling
from gateway.engines import bodies
from guards.base import DEFINITION, Conversation, Turn

TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}
MESSAGE = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}


def call_of(raw=False, options=None, **sampling):
    return Call(Conversation.of("secret"), Sampling(**sampling), raw, options or {})


def test_a_plain_call_says_no_more_than_it_must():
    assert bodies.common("demo", call_of(), None, "salt") == {
        "model": "demo",
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 1,
        "cache_salt": "salt",
    }


def test_what_a_client_says_is_sent_though_it_is_a_default():
    """A server's own rules, of the model's generation_config.json, are for what was left open."""
    said = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    assert said.items() <= bodies.common("demo", call_of(**said), None, "salt").items()


def test_stop_strings_never_go_and_what_else_was_asked_for_does():
    call = call_of(stop=("x",), seed=3, top_k=5, max_tokens=90, options={"tools": [TOOL], "tool_choice": "auto"})
    body = bodies.common("demo", call, 7, "salt", stream=False)
    assert "stop" not in body
    assert "stream" not in body
    assert (body["seed"], body["top_k"], body["max_tokens"], body["tools"]) == (3, 5, 7, [TOOL])


@pytest.mark.parametrize(
    ("raw", "count", "asked"),
    [
        (False, 2, {"logprobs": True, "top_logprobs": 2}),
        (False, 0, {"logprobs": True, "top_logprobs": 0}),
        (True, 3, {"logprobs": 3}),
        (True, 28, {"logprobs": bodies.MOST_LOGPROBS}),
    ],
)
def test_log_probabilities_in_the_words_of_the_endpoint(raw, count, asked):
    body = bodies.common("demo", call_of(raw, logprobs=count), None, "salt")
    assert {key: value for key, value in body.items() if "logprobs" in key} == asked


def test_where_log_probabilities_are_asked_for_nothing_is_left_to_the_servers_defaults():
    body = bodies.common("demo", call_of(logprobs=1, top_k=5), None, "salt")
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (5, 0.0, 1.0)
    assert (body["temperature"], body["top_p"]) == (1.0, 1.0)
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.0, 0.0)
    assert body.keys().isdisjoint({"seed", "max_tokens"})


def test_a_chats_ids_stand_beside_a_message_that_says_nothing():
    body = bodies.of_ids(False, (1, 2))
    assert body["kv_transfer_params"] == {"prompt_token_ids": [1, 2]}
    assert "secret" not in json.dumps(body)
    assert bodies.of_ids(True, (1, 2)) == {"prompt": [1, 2]}


def test_messages_are_the_clients_and_only_the_corrupted_are_replaced_whole():
    turns = (Turn(DEFINITION, "find"), Turn("user", "Who?"), Turn("assistant", "calls", MESSAGE), Turn("user", "Well?"))
    body = bodies.of_parts(Call(Conversation(turns)), {3: "rows"})
    assert body == {
        "messages": [
            {"role": "user", "content": "Who?"},
            {**MESSAGE, "content": ""},
            {"role": "user", "content": [{"type": "prompt_embeds", "data": "rows"}]},
        ]
    }


@pytest.mark.parametrize(
    ("options", "forced"),
    [
        ({}, False),
        ({"tools": [TOOL]}, False),
        ({"tools": [TOOL], "tool_choice": "auto"}, False),
        ({"tools": [TOOL], "tool_choice": "required"}, True),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "find"}}}, True),
        ({"response_format": {"type": "text"}}, False),
        ({"response_format": {"type": "json_object"}}, True),
        ({"structured_outputs": {"choice": ["a"]}}, True),
    ],
)
def test_a_form_is_forced_or_not_and_without_forms_it_never_is(options, forced):
    call = call_of(options={"reasoning_effort": "low", **options})
    assert bodies.forced(call) is forced
    plain = bodies.plain(call)
    tools = {"tools": [TOOL], "tool_choice": "none"} if "tools" in options else {}
    assert plain.options == {"reasoning_effort": "low", **tools}
    assert not bodies.forced(plain)


def test_an_error_names_only_what_a_client_can_have_sent():
    assert not bodies.FIELDS & {"kv_transfer_params", "cache_salt", "min_tokens", "prompt_embeds", "return_token_ids"}
