import asyncio
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Call, Capability, Delta, EngineRejected, EngineUnavailable, Pass, Sampling, Say, Steered
from gateway.engines.scripted import ScriptedEngine
from gateway.engines.words import estimate, recite, words
from guards.base import Conversation


def call_of(text, **sampling):
    return Call(Conversation.of(text), Sampling(**sampling))


async def said(engine, call, plan=None):
    items = [item async for item in engine.generate(call, plan or Pass())]
    return "".join(item.text for item in items[:-1]), items


async def test_rules_first_that_fits():
    engine = ScriptedEngine({"who": "a person", re.compile("wh.t"): "a thing"}, default="nothing")
    assert (await said(engine, call_of("who")))[0] == "a person"
    assert (await said(engine, call_of("say what")))[0] == "a thing"
    assert (await said(engine, call_of("who is it")))[0] == "nothing"
    assert engine.calls == 3
    assert engine.plans == [Pass()] * 3
    echo = ScriptedEngine(lambda conversation: conversation.turns[0].text.upper())
    assert (await said(echo, call_of("hello there")))[0] == "HELLO THERE"


@given(st.text(max_size=40), st.integers(1, 3))
def test_recitals_are_complete(text, n):
    assert "".join(words(text)) == text
    deltas = list(recite([text] * n, Sampling(n=n)))
    for index in range(n):
        own = [delta for delta in deltas if delta.index == index]
        assert "".join(delta.text for delta in own) == text
        assert [delta.finish for delta in own] == [None] * (len(own) - 1) + ["stop"]


def test_recitals_stop_and_are_cut():
    stopped = list(recite(["one two three"], Sampling(stop=("o th",))))
    assert ("".join(delta.text for delta in stopped), stopped[-1].finish) == ("one tw", "stop")
    cut = list(recite(["one two three four"], Sampling(max_tokens=4)))
    assert ("".join(delta.text for delta in cut), cut[-1].finish) == ("one two three", "length")
    assert estimate("one two three") == 4


async def test_a_plan_says_and_another_is_refused():
    engine = ScriptedEngine({"who": "a person"})
    text, items = await said(engine, call_of("who", n=2), Say("I do not know.", Conversation.of("x")))
    assert sorted(text) == sorted("I do not know." * 2)
    assert items[-1].completion_tokens == estimate("I do not know.", "I do not know.")
    with pytest.raises(EngineRejected):
        await said(engine, call_of("who"), Steered(()))
    able = ScriptedEngine({"who": "a person"}, capabilities=frozenset(Capability))
    assert (await said(able, call_of("who"), Steered(())))[0] == "a person"


async def test_failures_come_where_they_are_ordered():
    for at in (0, 2):
        engine = ScriptedEngine({"who": "a b c d"}, failure=EngineUnavailable("gone"), fail_at=at)
        stream = engine.generate(call_of("who"), Pass())
        for _ in range(at):
            await anext(stream)
        with pytest.raises(EngineUnavailable):
            await anext(stream)
        assert engine.running == 0


async def test_a_hanging_engine_is_cancelled():
    engine = ScriptedEngine({"who": "a b c d"}, hang_at=1)
    stream = engine.generate(call_of("who"), Pass())
    assert await anext(stream) == Delta(0, "a")
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert engine.running == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.running == 0


async def test_health_logprobs_and_score():
    engine = ScriptedEngine({"who": "a person"}, capabilities=frozenset(Capability))
    await engine.start()
    _, items = await said(engine, call_of("who", logprobs=1))
    assert [token.text for item in items[:-1] for token in item.tokens] == ["a", " person"]
    good = await engine.score(call_of("who"), "a person", Pass())
    bad = await engine.score(call_of("who"), "a stone", Pass())
    assert sum(token.logprob for token in good) > sum(token.logprob for token in bad)
    with pytest.raises(EngineRejected):
        await ScriptedEngine().score(call_of("who"), "a", Pass())
    first, *others = await engine.prompt_logprobs(call_of("who are you"))
    assert math.isnan(first.logprob)
    assert [(token.text, token.logprob) for token in others] == [(" are", 0.0), (" you", 0.0)]
    with pytest.raises(EngineRejected):
        await ScriptedEngine().prompt_logprobs(call_of("who"))
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await engine.health()
    with pytest.raises(EngineUnavailable):
        await said(engine, call_of("who"))
