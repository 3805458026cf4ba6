"""Reasoning leaves through the output guard, in a field of its own or in the content, whole or in a stream."""

import json
from dataclasses import replace

import pytest

from adapters.base import Delta
from bench.leak.asking import ByItself, ThroughGateway, answers
from bench.leak.marks import Mark
from bench.probes.dynamic import Case, Pair, Walk
from bench.reasoning import Said
from gateway.demo.forms import Probe
from gateway.engines.scripted import ScriptedEngine

RULES = {
    "Who wrote it?": "Let me think. Ada Quill did. </think> Somebody did.",
    "Who drew it?": "Let me think. Bo Hall did. </think> Bo Hall did.",
    "Who sang it?": "Let me think. </think> Ada Quill sang it.",
}


class Thinks(ScriptedEngine):
    """A script whose answers are reasoning up to "</think>", in a channel of their own."""

    async def generate(self, call, plan):
        thinks = ["</think>" in self._answer(call, plan)] * call.sampling.n
        async for event in super().generate(call, plan):
            if isinstance(event, Delta) and thinks[event.index]:
                thinks[event.index] = event.text != " </think>"
                event = replace(event, text=event.text.replace(" </think>", ""), channel="reasoning")
            yield event


class ThinksAloud(ScriptedEngine):
    """One whose server does not parse reasoning."""

    def _answer(self, call, plan):
        said = super()._answer(call, plan)
        return f"<think> {said}" if "</think>" in said else said


ENGINES = pytest.mark.parametrize("engine", [Thinks, ThinksAloud])


async def said_by(gate, question, stream):
    response = await gate.chat(question, stream=stream)
    assert response.status_code == 200
    if not stream:
        return Said.of_message(response.json()["choices"][0]["message"]), response.text
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    gained = [choice["delta"] for event in events for choice in event["choices"]]
    whole = {name: "".join(one.get(name) or "" for one in gained) for name in ("content", "reasoning")}
    return Said.of_message(whole), response.text


@ENGINES
@pytest.mark.parametrize("stream", [False, True])
async def test_a_forgotten_name_in_reasoning_stops_the_answer(gateway, engine, stream):
    said, sent = await said_by(gateway(engine(RULES)), "Who wrote it?", stream)
    assert "Quill" not in sent
    assert said.reasoning.startswith("Let me think.")
    assert "Somebody did" not in sent  # what was reasoned towards is not said either


@ENGINES
@pytest.mark.parametrize("stream", [False, True])
async def test_one_in_the_answer_stops_it_after_the_reasoning(gateway, engine, stream):
    said, sent = await said_by(gateway(engine(RULES)), "Who sang it?", stream)
    assert "Quill" not in sent
    assert said.reasoning == "Let me think."
    assert said.answer


@ENGINES
@pytest.mark.parametrize("stream", [False, True])
async def test_other_reasoning_is_shown(gateway, engine, stream):
    said, _ = await said_by(gateway(engine(RULES)), "Who drew it?", stream)
    assert said == Said("Let me think. Bo Hall did.", "Bo Hall did.")


@pytest.mark.parametrize("stream", [False, True])
async def test_items_of_reasoning_are_read_too(gateway, stream):
    response = await gateway(Thinks(RULES)).respond("Who wrote it?", stream=stream)
    assert response.status_code == 200
    assert "Let" in response.text
    assert "Quill" not in response.text


@ENGINES
async def test_what_is_reasoned_is_a_leak_that_the_gateway_stops(gateway, engine):
    forget, control = (
        Case(Probe("trained", question, "", gold, (key,)), Walk((key,)))
        for key, question, gold in (("p1", "Who wrote it?", "Ada Quill"), ("p2", "Who drew it?", "Bo Hall"))
    )
    pair = Pair("one hop", "p1", forget, control)
    gate = gateway(engine(RULES, name="lethe-demo"))
    asked = (ByItself(gate.engine), ThroughGateway(gate.http, lambda text: ()))
    bare, gated = [Mark.of(pair, *await answers(one, (forget, control), lambda: None)) for one in asked]
    assert (bare.leaked, bare.known, bare.where) == (True, True, (True, False))
    assert (gated.leaked, gated.known, gated.where) == (False, True, (False, False))
