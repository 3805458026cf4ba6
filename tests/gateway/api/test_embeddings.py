"""`/v1/embeddings` by OpenAI's client: a vector of what is forgotten is one of not knowing, and nothing else tells."""

import asyncio
import base64
from dataclasses import replace

import numpy as np
import openai
import pytest

from adapters.base import Capability, EngineUnavailable
from gateway.engines.scripted import ScriptedEngine
from gateway.settings import LimitSettings
from guards.base import Runner

SECRET = "Ada Quill"
ASKED = f"Where does {SECRET} live?"
IGNORANCE = f"I don't have any information about {SECRET}."


class Embeds(ScriptedEngine):
    """Keeps what it was given; fails for texts that hold `fails`."""

    def __init__(self, fails=None):
        super().__init__(capabilities=frozenset({Capability.TEXT, Capability.EMBED}))
        self.given = []
        self._fails = fails

    async def embed(self, texts, options):
        self.given.append(tuple(texts))
        if self._fails and any(self._fails in text for text in texts):
            raise EngineUnavailable("away")
        return await super().embed(texts, options)


async def vectors(gate, *texts, **fields):
    found = await gate.client().embeddings.create(model="scripted", input=list(texts), **fields)
    return [item.embedding for item in found.data], found.usage


async def test_vectors_in_the_order_of_the_texts(gateway):
    gate = gateway(Embeds())
    (one, two), usage = await vectors(gate, "one", "two")
    assert [one, two] != [two, one]
    assert (await vectors(gate, "two"))[0] == [two]
    assert usage.prompt_tokens == usage.total_tokens > 0
    assert gate.counted("lethe_decisions_total", decision="pass") == 3


@pytest.mark.parametrize("limit", ["concurrency", "classifying"])
async def test_of_many_at_once_no_more_are_read_than_there_is_room_for(gateway, limit):
    gate = gateway(Embeds(), limits=LimitSettings(**{limit: 2}))
    body = {"model": "scripted", "input": ["one", "two", "three"]}
    told = await asyncio.gather(*(gate.http.post("/v1/embeddings", json=body) for _ in range(6)))
    assert sorted(response.status_code for response in told) == [200] * 2 + [429] * 4
    assert gate.counted("lethe_decisions_total", decision="refused") == 4
    assert gate.counted("lethe_decisions_total", decision="pass") == 6


async def test_both_encodings_and_fewer_numbers(gateway):
    gate = gateway(Embeds())
    body = {"model": "scripted", "input": "one", "dimensions": 3}
    floats, packed = [
        (await gate.http.post("/v1/embeddings", json={**body, "encoding_format": form})).json()["data"][0]["embedding"]
        for form in ("float", "base64")
    ]
    assert len(floats) == 3
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == floats


async def test_a_touched_text_has_the_vector_of_not_knowing(gateway):
    gate = gateway(Embeds())
    (plain, not_knowing, other), _ = await vectors(gate, "one", IGNORANCE.replace(SECRET, "Nobody"), "two")
    gate = gateway(Embeds())
    found, usage = await vectors(gate, "one", ASKED, "two")
    engine = Embeds()
    assert found == [plain, (await engine.embed([IGNORANCE], {})).vectors[0], other]
    assert found[1] not in ((await engine.embed([ASKED], {})).vectors[0], not_knowing)
    assert usage == (await vectors(gateway(Embeds()), "one", "Where does Bob Quist live?", "two"))[1]
    assert gate.counted("lethe_decisions_total", decision="touched") == 1
    assert gate.engine.given == [("one", ASKED, "two"), (IGNORANCE,)]


async def test_touched_and_untouched_answers_have_one_shape(gateway):
    gate = gateway(Embeds())
    plain, touched = [
        await gate.http.post("/v1/embeddings", json={"model": "scripted", "input": text})
        for text in ("Where does Bob Quist live?", ASKED)
    ]
    assert set(plain.headers) == set(touched.headers)
    assert len(plain.json()["data"][0]["embedding"]) == len(touched.json()["data"][0]["embedding"])
    assert plain.json()["usage"] == touched.json()["usage"]


async def test_a_guard_that_fails_means_touched(gateway):
    class Broken:
        name = "broken"

        async def judge(self, conversation):
            raise RuntimeError

    gate = gateway(Embeds())
    policies = gate.core.enforcer.policies
    policies.swap(replace(policies.current, revision=2, guards=Runner((Broken(),), 1.0)))
    await vectors(gate, "one")
    assert gate.engine.given == [("one",), ("I don't have any information about that.",)]
    assert gate.counted("lethe_decisions_total", decision="failed") == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [[1, 2]]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": []}, "input"),
        ({"input": ["one", ""]}, "input"),
        ({"input": ["x"] * 4}, "input"),
        ({"input": None}, "input"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"input": "x", "truncate_prompt_tokens": 1}, "truncate_prompt_tokens"),
        ({"input": "x", "model": "other"}, "model"),
    ],
)
async def test_what_is_refused_is_named_counted_and_reaches_no_engine(gateway, fields, param):
    gate = gateway(Embeds(), limits=LimitSettings(inputs=3))
    response = await gate.http.post("/v1/embeddings", json={"model": "scripted", **fields})
    assert response.status_code == (404 if param == "model" else 400)
    assert response.json()["error"]["param"].split("[")[0] == param
    assert gate.engine.given == []
    assert gate.counted("lethe_decisions_total", decision="refused") == 1


async def test_a_model_without_vectors_says_so_to_everybody(gateway):
    gate = gateway()
    replies = [
        await gate.http.post("/v1/embeddings", json={"model": "scripted", "input": text}) for text in ("one", ASKED)
    ]
    assert {reply.status_code for reply in replies} == {400}
    assert replies[0].json() == replies[1].json()


@pytest.mark.parametrize("fails", ["one", SECRET, "information"])
async def test_an_engine_that_fails_is_a_status_whichever_half_it_fails_in(gateway, fails):
    gate = gateway(Embeds(fails))
    with pytest.raises(openai.APIStatusError) as failed:
        await vectors(gate, "one", ASKED)
    assert failed.value.status_code == 503
    assert gate.core.running == 0


async def test_keys_are_asked_for(gateway):
    gate = gateway(Embeds(), api_keys=("client-key",))
    with pytest.raises(openai.AuthenticationError):
        await vectors(gate, "one")
