"""Everything that a template may render is in the turns, in letters that a guard can read."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.params import ChatBody, ResponsesBody, honoured, read, restricted
from gateway.params.strings import DEPTH, GIVEN, TooDeep, readable
from gateway.settings import LimitSettings
from guards.base import DEFINITION, Turn

LIMITS = LimitSettings()
SECRET = "Mara Lindqvist"
HELLO = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "find", "description": "finds", "parameters": {"type": "object"}}}


def asked(*messages, **fields):
    return read(ChatBody, orjson.dumps({"model": "m", "messages": [*messages] or [HELLO], **fields})).call(LIMITS)


def responded(input_, **fields):
    return read(ResponsesBody, orjson.dumps({"model": "m", "input": input_, **fields})).call(LIMITS)


def called(arguments='{"who":"Bo"}', name="find", id_="call_1"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def error_of(make):
    with pytest.raises(BadRequest) as refused:
        make()
    assert SECRET not in str(refused.value)
    return refused.value.param, str(refused.value)


def test_a_message_that_says_no_more_is_a_turn_and_nothing_else():
    (turn,) = asked({**HELLO, "refusal": None, "tool_calls": None, "audio": None, "annotations": []}).conversation.turns
    assert turn == Turn("user", "hello")
    assert turn.message is None


def test_a_message_that_says_more_is_kept_as_it_was_and_read_whole():
    turns = asked(
        HELLO,
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [called()]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a baker", "name": "find"},
        {"role": "user", "content": "thanks", "name": "Ann"},
    ).conversation.turns
    assert turns[1].message == {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [called()]}
    assert turns[2].message == {"role": "tool", "content": "a baker", "tool_call_id": "call_1", "name": "find"}
    assert turns[3].message == {"role": "user", "content": "thanks", "name": "Ann"}
    assert [turn.content for turn in turns] == ["hello", "", "a baker", "thanks"]
    assert [turn.text.split("\n") for turn in turns[1:]] == [
        ["", "hm", "call_1", "find", '{"who":"Bo"}'],
        ["a baker", "call_1", "find"],
        ["thanks", "Ann"],
    ]


def test_arguments_are_read_without_their_escapes_too():
    arguments = json.dumps({SECRET: 1}).replace("M", "\\u004d")
    (_, turn) = asked(HELLO, {"role": "assistant", "content": "", "tool_calls": [called(arguments)]}).conversation.turns
    assert SECRET not in arguments
    assert SECRET in turn.text
    assert arguments in turn.text


@pytest.mark.parametrize("arguments", ["", "no json", "[1", "42", '"Bo"', "{'a': 1}", '{"a": NaN}'])
def test_arguments_that_are_none_are_a_models_own_words(arguments):
    (_, turn) = asked(HELLO, {"role": "assistant", "content": "", "tool_calls": [called(arguments)]}).conversation.turns
    assert turn.message["tool_calls"][0]["function"]["arguments"] == arguments
    assert arguments in turn.text


def test_definitions_come_before_the_messages_and_are_read_to_their_keys():
    schema = {"type": "object", "properties": {"Bo Quist": {"enum": ["Nareth", 1987]}}}
    call = asked(
        tools=[{"type": "function", "function": {"name": "find", "parameters": schema}}],
        response_format={"type": "json_schema", "json_schema": {"name": "form", "schema": schema}},
        structured_outputs={"choice": ["Dunmarch"]},
        documents=[{"title": "One", "text": "a document"}, {"text": "another"}],
    )
    *defined, hello = call.conversation.turns
    assert hello == Turn("user", "hello")
    assert {turn.role for turn in defined} == {DEFINITION}
    assert len(defined) == 5
    for text, words in zip(
        (turn.text for turn in defined),
        (
            ["find", "Bo Quist", "Nareth", "1987"],
            ["form", "Bo Quist"],
            ["Dunmarch"],
            ["One", "a document"],
            ["another"],
        ),
        strict=True,
    ):
        assert set(words) <= set(text.split("\n"))


def test_options_go_on_as_they_were_written():
    given_ = {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "find"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": None}, "strict": True}},
        "structured_outputs": {"json": {"type": "object"}, "disable_any_whitespace": True},
        "documents": [{"text": "x"}],
        "reasoning_effort": "low",
        "include_reasoning": False,
        "thinking_token_budget": 0,
        "chat_template_kwargs": {"enable_thinking": False},
        "logit_bias": {"5": -100},
        "allowed_token_ids": [1],
    }
    assert asked(**given_).options == given_


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tool_choice": "none"},
        {"tool_choice": "auto", "parallel_tool_calls": False},
        {"response_format": {"type": "text"}},
        {"documents": [], "logit_bias": {}, "allowed_token_ids": [], "bad_words": []},
        {"min_tokens": 0, "ignore_eos": False, "include_reasoning": True},
        {"chat_template_kwargs": {}},
        {"chat_template_kwargs": {"enable_thinking": None}},
        {"verbosity": "low", "user": "x", "metadata": {"a": "b"}, "service_tier": "auto", "stream_interval": 2},
    ],
)
def test_what_says_nothing_is_no_option(fields):
    assert asked(**fields).options == {}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": SECRET}}]}, "tools[0].function.name"),
        ({"tools": [{**TOOL, "cache_control": {}}]}, "tools[0].cache_control"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": SECRET}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        ({"chat_template_kwargs": {"tools": [SECRET]}}, "chat_template_kwargs.tools"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
        ({"response_format": {"type": "structural_tag"}}, "response_format.type"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"choice": ["a"], "regex": "b"}}, "structured_outputs"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"documents": [{"text": 1}]}, "documents[0].text"),
        ({"logit_bias": {SECRET: 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"allowed_token_ids": [-1]}, "allowed_token_ids[0]"),
        ({"min_tokens": 1}, "min_tokens"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"bad_words": ["x"]}, "bad_words"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"verbosity": "much"}, "verbosity"),
    ],
)
def test_an_option_that_makes_no_sense_names_its_field(fields, param):
    assert error_of(lambda: asked(**fields))[0] == param


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user", "content": "x", "tool_calls": [called()]}, "tool_calls"),
        ({"role": "assistant", "content": "x", "tool_call_id": "c"}, "tool_call_id"),
        ({"role": "user", "content": "x", "reasoning": SECRET}, "reasoning"),
        ({"role": "assistant"}, "content"),
        ({"role": "tool", "tool_call_id": "c"}, "content"),
        ({"role": "assistant", "content": "", "tool_calls": [called(name=SECRET)]}, "tool_calls[0].function.name"),
        ({"role": "assistant", "content": "", "refusal": SECRET}, "refusal"),
        ({"role": "assistant", "content": "", "audio": {"id": SECRET}}, "audio"),
        ({"role": "user", "content": [{"type": "prompt_embeds", "data": SECRET}]}, "content[0]"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "content[0]"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "data": SECRET}]}, "content[0].data"),
    ],
)
def test_a_message_that_makes_no_sense_names_its_field(message, field):
    param, _ = error_of(lambda: asked(HELLO, message))
    assert param == f"messages[1].{field}"


def test_a_part_that_cannot_be_read_is_called_by_its_type():
    _, said = error_of(lambda: asked({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}))
    assert "image_url" in said
    assert "only text" in said


@pytest.mark.parametrize("arguments", ['"\\ud800"', '{"\\udc00": 1}', '{"a": ["\\ud83d"]}'])
def test_what_is_no_unicode_under_its_escapes_is_refused(arguments):
    param, said = error_of(lambda: asked({"role": "assistant", "content": "", "tool_calls": [called(arguments)]}))
    assert param == "messages[0].tool_calls[0].function.arguments"
    assert "Unicode" in said


def test_what_is_too_deep_to_be_walked_is_refused():
    deep = json.loads("[" * 200 + "]" * 200)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"a": deep}}}]
    assert error_of(lambda: asked(tools=tools))[0] == "tools[0].function.parameters"
    for depth in (200, 100_000):
        arguments = "[" * depth + "]" * depth
        message = {"role": "assistant", "content": "", "tool_calls": [called(arguments)]}
        assert error_of(lambda message=message: asked(message))[0] == "messages[0].tool_calls[0].function.arguments"


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
trees = st.recursive(
    scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=5), one, max_size=3), max_leaves=8
)


@settings(max_examples=100)
@given(trees)
def test_every_string_is_read(value):
    text = readable(value)

    def strings(one):
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            for key, item in one.items():
                yield key
                yield from strings(item)
        elif isinstance(one, list):
            for item in one:
                yield from strings(item)

    assert all(string in text for string in strings(value))


@pytest.mark.parametrize("depth", range(DEPTH - 10, DEPTH + 2))
def test_what_may_be_given_can_be_read_with_what_it_stands_in(depth):
    deep = json.loads("[" * depth + "]" * depth)
    function = {"name": "f", "parameters": {"a": deep}}
    message = {"role": "assistant", "content": "", "tool_calls": [called(json.dumps({"\n": deep}))]}
    for case, param in (
        (lambda: asked(tools=[{"type": "function", "function": function}]), "tools[0].function.parameters"),
        (lambda: asked(message), "messages[0].tool_calls[0].function.arguments"),
    ):
        if depth <= GIVEN:
            case()
        else:
            assert error_of(case)[0] == param


def test_depth_is_counted():
    value = "x"
    for _ in range(DEPTH):
        value = [value]
    assert readable(value) == "x"
    with pytest.raises(TooDeep):
        readable([value])


def test_items_of_one_answer_are_one_message():
    spoken = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]}
    thought = {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    calls = [
        {"type": "function_call", "call_id": c, "name": "find", "arguments": "{}", "status": "completed"} for c in "ab"
    ]
    outputs = [{"type": "function_call_output", "call_id": c, "output": f"result {c}"} for c in "ab"]
    turns = responded(
        [
            {"role": "user", "content": "who?"},
            thought,
            *calls,
            *outputs,
            thought,
            spoken,
            {"role": "user", "content": "?"},
        ],
        instructions="be brief",
    ).conversation.turns
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]
    assert [one["id"] for one in turns[2].message["tool_calls"]] == ["a", "b"]
    assert turns[2].message["reasoning"] == turns[5].message["reasoning"] == "hm"
    assert turns[5].content == "Let me look."
    assert [turn.content for turn in turns[3:5]] == ["result a", "result b"]


def test_words_of_responses_become_those_of_chat():
    call = responded(
        "hi",
        tools=[{"type": "function", "name": "find", "parameters": {"type": "object"}, "strict": True}],
        tool_choice={"type": "function", "name": "find"},
        text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        max_output_tokens=7,
        stop="x",
    )
    function = {"name": "find", "parameters": {"type": "object"}, "strict": True}
    assert call.options == {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "find"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "reasoning_effort": "low",
    }
    assert (call.sampling.max_tokens, call.sampling.stop) == (7, ("x",))


def test_what_forces_words_is_known():
    assert restricted(asked(tools=[TOOL], logit_bias={"5": 1}))
    assert restricted(asked(allowed_token_ids=[1]))
    assert not restricted(asked(tools=[TOOL], response_format={"type": "json_object"}))


def test_what_an_engine_does_not_honour_is_refused_in_the_clients_word_for_it():
    call = asked(tools=[TOOL], logit_bias={"5": 1})
    assert honoured(call, {"tools", "logit_bias"}, {}) is call
    assert error_of(lambda: honoured(call, {"tools"}, {}))[0] == "logit_bias"
    assert error_of(lambda: honoured(call, {"logit_bias"}, {"tools": "functions"}))[0] == "functions"
