"""`/v1/responses`, by OpenAI's client where that is the question, by hand where a client would mend what is wrong."""

import json

import openai
import pytest
from pydantic import BaseModel

from adapters.base import Delta, EngineUnavailable, ToolCall, Usage
from gateway.engines.scripted import ScriptedEngine

SECRET = "Ada Quill"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}}
THOUGHT = (
    Delta(0, "", opening=True),
    Delta(0, "Hm", channel="reasoning"),
    Delta(0, "m.", channel="reasoning"),
    Delta(0, "Let me "),
    Delta(0, "look."),
    Delta(0, "", channel="tool 0", tool=ToolCall("call_1", "weather")),
    Delta(0, '{"city":', channel="tool 0"),
    Delta(0, '"Rome"}', channel="tool 0"),
    Delta(0, "", finish="tool_calls"),
    Usage(7, 9),
)


class Plays(ScriptedEngine):
    """Says exactly these events to whatever passes, and keeps what it was asked."""

    options = frozenset({"tools", "tool_choice", "response_format", "reasoning_effort"})

    def __init__(self, *events):
        super().__init__()
        self.events = events
        self.asked = []

    async def generate(self, call, plan):
        self.asked.append(call)
        if plan.method != "pass":
            async for event in super().generate(call, plan):
                yield event
            return
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event


def typed(response):
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in response.text.removesuffix("\n\n").split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {event['type']}" for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


async def test_a_response(gateway):
    answer = await gateway().client().responses.create(model="scripted", input="Hello?", instructions="Be brief.")
    assert answer.output_text == "A plain answer."
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    assert answer.instructions == "Be brief."
    assert answer.id.startswith("resp_")
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0


async def test_a_stream_by_openais_own_accumulator(gateway):
    async with gateway().client().responses.stream(model="scripted", input="Hello?") as stream:
        said = [event async for event in stream]
        final = await stream.get_final_response()
    assert "".join(event.delta for event in said if event.type == "response.output_text.delta") == "A plain answer."
    assert final.output_text == "A plain answer."
    assert said[-1].type == "response.completed"


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_text_and_calls_are_items(gateway, stream):
    client = gateway(Plays(*THOUGHT)).client()
    asked = {"model": "scripted", "input": "Weather in Rome?", "tools": [TOOL]}
    if stream:
        async with client.responses.stream(**asked) as events:
            answer = await events.get_final_response()
    else:
        answer = await client.responses.create(**asked)
    thought, message, call = answer.output
    assert (thought.type, thought.content[0].text) == ("reasoning", "Hmm.")
    assert message.content[0].text == answer.output_text == "Let me look."
    assert (call.type, call.call_id, call.name, call.arguments) == (
        "function_call",
        "call_1",
        "weather",
        '{"city":"Rome"}',
    )
    assert {item.status for item in answer.output} == {"completed"}
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 9)


async def test_an_event_for_every_step(gateway):
    events = typed(await gateway(Plays(*THOUGHT)).respond(stream=True, tools=[TOOL]))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    ids = {}
    for event in events:
        if "item_id" in event:
            assert ids.setdefault(event["output_index"], event["item_id"]) == event["item_id"]
    assert len(set(ids.values())) == 3


async def test_the_end_of_a_text_may_come_after_another_began(gateway):
    said = [Delta(0, "one", channel="reasoning"), Delta(0, "two"), Delta(0, " more", channel="reasoning")]
    async with (
        gateway(Plays(*said, Delta(0, "", finish="stop"), Usage(1, 3)))
        .client()
        .responses.stream(model="scripted", input="x") as stream
    ):
        thought, message = (await stream.get_final_response()).output
    assert (thought.content[0].text, message.content[0].text) == ("one more", "two")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_was_cut_is_incomplete(gateway, stream):
    gate = gateway(Plays(Delta(0, "one"), Delta(0, "", finish="length"), Usage(1, 1)))
    response = await gate.respond(stream=stream, max_output_tokens=1)
    body = typed(response)[-1]["response"] if stream else response.json()
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_a_word_is_an_empty_message(gateway, stream):
    response = await gateway(Plays(Delta(0, "", finish="stop"), Usage(1, 0))).respond(stream=stream)
    body = typed(response)[-1]["response"] if stream else response.json()
    assert [item["content"][0]["text"] for item in body["output"]] == [""]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_touched_question_is_answered_in_the_same_shape(gateway, stream):
    gate = gateway()
    plain, touched = await gate.respond(stream=stream), await gate.respond(f"Who is {SECRET}?", stream=stream)

    def shape(value):
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(item) for item in value] if isinstance(value, list) else type(value)

    if stream:
        first, second = ([e for e in typed(one) if not e["type"].endswith(".delta")] for one in (plain, touched))
        assert [event["type"] for event in first] == [event["type"] for event in second]
        assert shape(first) == shape(second)
    else:
        assert shape(plain.json()) == shape(touched.json())
    assert "I don't have any information about" in touched.text or stream
    assert set(plain.headers) == set(touched.headers)


async def test_a_forgotten_name_in_an_answer_never_leaves(gateway):
    response = await gateway(ScriptedEngine(default=f"It was {SECRET}, the baker.")).respond("Who was it?", stream=True)
    assert "Ada" not in response.text
    assert "baker" not in response.text
    assert typed(response)[-1]["type"] == "response.completed"


async def test_a_name_in_a_tool_or_in_what_it_gave_is_read(gateway):
    for fields in (
        {"tools": [{**TOOL, "description": f"all about {SECRET}"}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": f"{SECRET} is a baker"}]},
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"enum": [SECRET]}}}},
    ):
        gate = gateway(Plays(*THOUGHT))
        assert (await gate.respond(**fields)).status_code == 200
        assert gate.counted("lethe_decisions_total", decision="touched") == 1, fields


async def test_an_instruction_that_is_touched_is_left_out(gateway):
    gate = gateway(Plays(*THOUGHT))
    await gate.respond(instructions=f"You are {SECRET}.")
    assert [turn.role for turn in gate.engine.asked[0].conversation.turns] == ["user"]


async def test_what_was_said_before_arrives_as_messages(gateway):
    gate = gateway(Plays(*THOUGHT))
    client = gate.client()
    first = await client.responses.create(model="scripted", input="Weather in Rome?", tools=[TOOL])
    said = [item.model_dump(exclude_none=True) for item in first.output]
    given = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    await client.responses.create(
        model="scripted", input=[{"role": "user", "content": "Weather in Rome?"}, *said, given], tools=[TOOL]
    )
    turns = gate.engine.asked[-1].conversation.turns
    assert [turn.role for turn in turns] == ["definition", "user", "assistant", "assistant", "tool"]
    assert turns[2].message["reasoning"] == "Hmm."
    assert turns[3].message["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert turns[4].message == {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}


class Person(BaseModel):
    name: str


async def test_a_parsed_response(gateway):
    gate = gateway(Plays(Delta(0, '{"name":"Bo"}'), Delta(0, "", finish="stop"), Usage(1, 1)))
    parsed = await gate.client().responses.parse(model="scripted", input="Who?", text_format=Person)
    assert parsed.output_parsed == Person(name="Bo")
    form = gate.engine.asked[0].options["response_format"]
    assert (form["type"], form["json_schema"]["name"]) == ("json_schema", "Person")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"conversation": "c"}, "conversation"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": SECRET}]}]}, None),
        ({"tools": [{"type": "web_search"}]}, "tools[0].parameters"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"tool_choice": {"type": "function", "name": "nobody"}}, "tool_choice"),
    ],
)
async def test_what_is_refused_is_named(gateway, fields, param):
    gate = gateway()
    response = await gate.respond(**{"input": "x", **fields})
    error = response.json()["error"]
    assert response.status_code == 400
    assert SECRET not in response.text
    assert error["param"] == param or param is None or error["param"].startswith(param.split(".")[0])
    assert gate.engine.calls == 0
    assert gate.counted("lethe_decisions_total", decision="refused") == 1


async def test_what_the_engine_does_not_honour_is_refused_in_the_clients_words(gateway):
    for fields, param in (({"tools": [TOOL]}, "tools"), ({"reasoning": {"effort": "low"}}, "reasoning")):
        error = (await gateway().respond(**fields)).json()["error"]
        assert (error["param"], error["message"]) == (param, f"This model does not support {param}.")


async def test_an_engine_that_fails_in_mid_stream_ends_in_a_failed_response(gateway):
    gate = gateway(Plays(Delta(0, "one"), EngineUnavailable(SECRET)))
    events = typed(await gate.respond(stream=True))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert SECRET not in str(events)
    with pytest.raises(openai.APIStatusError):
        await gateway(Plays(EngineUnavailable(SECRET))).client().responses.create(model="scripted", input="x")
