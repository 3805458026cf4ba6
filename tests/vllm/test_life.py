"""Ask, forget, ask again, before a real vLLM: the whole life of a forget request, by OpenAI's client."""

import json
import re
from itertools import groupby
from typing import Any

import httpx
import openai
import pytest

from gateway.demo.forms import Probe, correct, probes
from gateway.demo.phrases import IGNORANCE
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from tests.coming_and_going import settled
from tests.vllm.conftest import CHAT, Scene, asking, forgetting, where

STATES = ["shielded", "learning", "verifying", "enforced"]
CITIES = {
    "type": "object",
    "properties": {"city": {"enum": ["Dunmarch", "Nareth"]}},
    "required": ["city"],
    "additionalProperties": False,
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITIES}}
TOOL = {"type": "function", "function": {"name": "find", "strict": True, "parameters": CITIES}}


async def said(client: openai.AsyncOpenAI, question: str, **more: Any) -> str:
    """The whole greedy answer."""
    answer = await client.chat.completions.create(**asking(question, **more))
    return answer.choices[0].message.content or ""


async def streamed(client: openai.AsyncOpenAI, question: str, **more: Any) -> str:
    """The same, put together from its events."""
    chunks = await client.chat.completions.create(**asking(question, stream=True, **more))
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


def about(world: World, person: Person) -> list[Probe]:
    kinds = ("trained", "heldout", "alias", "cloze", "two_hop")
    return [probe for probe in probes(world, kinds, seed=3) if probe.about[0] == person.key][::3]


def others(world: World, person: Person) -> list[Probe]:
    """Namesakes, and a sample of all the rest."""
    found = [probe for probe in probes(world, ("trained", "heldout"), seed=4) if probe.about != (person.key,)]
    alike = {
        one.key for one in world.people if one is not person and {one.first, one.last} & {person.first, person.last}
    }
    return [probe for probe in found if alike & set(probe.about)][::3][:12] + found[::60]


async def test_a_whole_life(
    gateway: GatewayProcess, client: openai.AsyncOpenAI, direct: httpx.AsyncClient, world: World
) -> None:
    person = world.people[3]
    known, rest = about(world, person), others(world, person)

    async def bare(probe: Probe) -> str:
        content: str = (await direct.post(CHAT, json=asking(probe.question))).json()["choices"][0]["message"]["content"]
        return content

    before = [await bare(probe) for probe in known]
    assert sum(map(correct, known, before)) >= 0.9 * len(known)
    assert [await said(client, probe.question) for probe in known] == before

    async with gateway.admin() as admin:
        filed = await admin.post("/forget-requests", forgetting(person, "eco"))
        assert filed["state"] == "shielded"
        assert await said(client, where(person)) == IGNORANCE.format(name=person.name)
        enforced = await settled(admin, filed["id"])
        assert (enforced["state"], enforced["method"]) == ("enforced", "eco")
        assert enforced["evidence"]["leak"]["after"]["hits"] == 0

        for probe in known:
            whole = await said(client, probe.question)
            assert not correct(probe, whole), probe.kind
            assert await streamed(client, probe.question) == whole
        assert (await admin.post("/check", {"text": where(person)}))["plan"] == "eco"
        for probe in rest:
            assert await said(client, probe.question) == await streamed(client, probe.question) == await bare(probe)
        history = (await admin.get(f"/forget-requests/{filed['id']}/events"))["data"]
        assert [one["kind"] for one in history if one["kind"] in STATES] == STATES

        await admin.post(f"/forget-requests/{filed['id']}/retire")
    assert [await said(client, probe.question) for probe in known] == before


@pytest.mark.parametrize("usage", [True, False])
async def test_untouched_events_leave_as_they_came(
    http: httpx.AsyncClient, direct: httpx.AsyncClient, scene: Scene, usage: bool
) -> None:
    body = asking(where(scene.known), stream=True) | ({"stream_options": {"include_usage": True}} if usage else {})
    ours, theirs = [blank((await one.post(CHAT, json=body)).text) for one in (http, direct)]
    if not usage:  # vLLM is always asked for it, and says which build it is in the last event, whatever that is
        theirs = [re.sub(r',"system_fingerprint":"[^"]*"', "", event) for event in theirs]
    assert ours == theirs
    assert len(ours) == (5 if usage else 4)


def blank(stream: str) -> list[str]:
    """The events of one answer, byte for byte but for its id, its time and how its text is cut.

    A client slower than vLLM is told the last words and the end in one event: made two here.
    """
    kept = re.sub(r'"id":"[^"]*"|"created":\d+|(?<="content":)"[^"]+"', "", stream)
    kept = re.sub(
        r'^(.*"delta":\{)"content":(\}.*"finish_reason":)("stop","stop_reason":null)(.*)$',
        r'\1"content":\2null\4\n\n\1\2\3\4',
        kept,
        flags=re.MULTILINE,
    )
    return [event for event, _ in groupby(event for event in kept.split("\n\n") if event)]


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
async def test_several_choices_with_a_seed(client: openai.AsyncOpenAI, scene: Scene, how: str) -> None:
    async def draw(seed: int, **more: Any) -> list[str]:
        body = asking(where(scene.person(how)), n=4, temperature=2, seed=seed, max_tokens=24, **more)
        answer = await client.chat.completions.create(**body)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        return [choice.message.content or "" for choice in answer.choices]

    first = await draw(11)
    assert await draw(11) == first
    if how == "known":
        assert await draw(12) != first
    else:
        assert not any(scene.person(how).attributes["city"] in text for text in first)


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
async def test_a_stop_string_ends_before_itself(client: openai.AsyncOpenAI, scene: Scene, how: str) -> None:
    whole = await said(client, where(scene.person(how)))
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    for ask in (said, streamed):
        assert await ask(client, where(scene.person(how)), stop=[stop]) == whole[: whole.index(stop)]


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_a_limit_cuts_the_same_answer(client: openai.AsyncOpenAI, scene: Scene, how: str, limit: int) -> None:
    whole = await said(client, where(scene.person(how)))
    answer = await client.chat.completions.create(**asking(where(scene.person(how)), max_tokens=limit))
    assert whole.startswith(answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage
    assert answer.usage.completion_tokens == limit


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
async def test_logprobs_are_those_of_the_answer(client: openai.AsyncOpenAI, scene: Scene, how: str) -> None:
    body = asking(where(scene.person(how)), logprobs=True, top_logprobs=5)
    choice = (await client.chat.completions.create(**body)).choices[0]
    assert choice.logprobs
    assert choice.logprobs.content
    *tokens, end = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content
    assert end.token == "<|im_end|>"
    assert all(len(token.top_logprobs) == 5 for token in choice.logprobs.content)
    city = scene.person(how).attributes["city"].split()[0]
    seen = {one.token.strip() for token in choice.logprobs.content for one in token.top_logprobs if one.logprob > -9}
    assert (city in seen) == (how == "known")


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
@pytest.mark.parametrize("ask", [said, streamed])
async def test_a_schema_holds(client: openai.AsyncOpenAI, scene: Scene, how: str, ask: Any) -> None:
    found = json.loads(await ask(client, where(scene.person(how)), response_format=SCHEMA))
    assert found["city"] in CITIES["properties"]["city"]["enum"]  # type: ignore[index]


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
@pytest.mark.parametrize("choice", ["auto", "none"])
async def test_tools_that_need_not_be_called(client: openai.AsyncOpenAI, scene: Scene, how: str, choice: str) -> None:
    plain = await said(client, where(scene.person(how)))
    for ask in (said, streamed):
        assert await ask(client, where(scene.person(how)), tools=[TOOL], tool_choice=choice) == plain


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "find"}}])
async def test_a_tool_that_must_be_called(client: openai.AsyncOpenAI, scene: Scene, how: str, choice: Any) -> None:
    body = asking(where(scene.person(how)), tools=[TOOL], tool_choice=choice, max_tokens=100)
    chunks = await client.chat.completions.create(**body, stream=True)
    called = [
        call.function async for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()
    ]
    assert called[0]
    assert called[0].name == "find"


@pytest.mark.parametrize("how", ["known", "eco", "ignorance"])
async def test_an_effort_of_reasoning_is_taken(client: openai.AsyncOpenAI, scene: Scene, how: str) -> None:
    plain = await said(client, where(scene.person(how)))
    assert await said(client, where(scene.person(how)), reasoning_effort="low") == plain
