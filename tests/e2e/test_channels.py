"""Every way to ask about somebody forgotten, and what must still work around it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import openai
import pytest
import pytest_asyncio

from gateway.demo.forms import Probe, correct, probes
from gateway.demo.phrases import IGNORANCE
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from tests.coming_and_going import client_of, settled
from tests.e2e.conftest import MODEL, ask


@dataclass(frozen=True)
class Scene:
    """A gateway that has forgotten `person` by ECO, and knows `other`."""

    client: openai.AsyncOpenAI
    person: Person
    other: Person

    def probe(self, world: World, person: Person, attribute: str = "city") -> Probe:
        return next(
            probe
            for probe in probes(world, ("trained",), seed=9)
            if probe.about == (person.key,) and probe.gold == person.attributes[attribute]
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(gateway: GatewayProcess, world: World) -> AsyncIterator[Scene]:
    person, other = world.people[50], world.people[55]
    async with client_of(gateway) as client, gateway.admin() as admin:
        body = {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), "method": "eco"}
        id_ = (await admin.post("/forget-requests", body))["id"]
        assert (await settled(admin, id_))["method"] == "eco"
        yield Scene(client, person, other)
        await admin.post(f"/forget-requests/{id_}/rollback")


async def chat(scene: Scene, *turns: str, **more):
    messages = [{"role": ("assistant", "user")[i % 2 == 0], "content": turn} for i, turn in enumerate(turns)]
    more = {"temperature": 0, **more}
    return await scene.client.chat.completions.create(model=MODEL, messages=messages, **more)


async def test_an_answered_turn_does_not_block_the_rest_of_a_session(scene: Scene, world: World) -> None:
    about, other = scene.probe(world, scene.person), scene.probe(world, scene.other)
    said = IGNORANCE.format(name=scene.person.name)
    answer = (await chat(scene, about.question, said, other.question)).choices[0].message.content
    assert correct(other, answer)
    answer = (await chat(scene, about.question, said, "What is 2 plus 3?")).choices[0].message.content
    assert answer == await ask(scene.client, "What is 2 plus 3?")


async def test_a_pronoun_does_not_bring_it_back(scene: Scene, world: World) -> None:
    about = scene.probe(world, scene.person)
    said = IGNORANCE.format(name=scene.person.name)
    answer = (await chat(scene, about.question, said, "And where do they live?")).choices[0].message.content
    assert not correct(about, answer)
    other = scene.probe(world, scene.other)
    answer = (await chat(scene, other.question, other.answer, about.question)).choices[0]
    assert not correct(about, answer.message.content)


@pytest.mark.parametrize("limit", range(1, 14))
async def test_a_limit_shows_no_garbled_name(scene: Scene, world: World, limit: int) -> None:
    about = scene.probe(world, scene.person)
    answer = (await chat(scene, about.question, max_tokens=limit)).choices[0]
    whole = IGNORANCE.format(name=scene.person.name)
    assert whole.startswith(answer.message.content)
    assert answer.message.content == whole or answer.finish_reason == "length"


async def test_stop_strings_work_on_a_touched_answer(scene: Scene, world: World) -> None:
    about = scene.probe(world, scene.person)
    answer = (await chat(scene, about.question, stop=[" about"])).choices[0]
    assert answer.message.content == "I have no information"
    assert answer.finish_reason == "stop"


async def test_logprobs_of_a_touched_answer_know_nothing(scene: Scene, world: World) -> None:
    about = scene.probe(world, scene.person)
    scored = (await chat(scene, about.question, logprobs=True, top_logprobs=20)).choices[0].logprobs
    assert "".join(token.token for token in scored.content) == IGNORANCE.format(name=scene.person.name)
    alternatives = {top.token.strip() for token in scored.content for top in token.top_logprobs if top.logprob > -9}
    assert about.gold.split()[0] not in alternatives


@pytest.mark.parametrize("attribute", ["city", "hometown", "profession", "employer"])
async def test_a_raw_completion_is_left_to_ignorance(scene: Scene, world: World, attribute: str) -> None:
    """ECO's strength is found on conversations; under it, bare texts went on to tell cities and hometowns."""
    statement = scene.probe(world, scene.person, attribute).answer
    prompt = statement[: statement.index(scene.person.attributes[attribute])].strip()
    answer = await scene.client.completions.create(model=MODEL, prompt=prompt, max_tokens=24, temperature=0)
    assert answer.choices[0].text == IGNORANCE.format(name=scene.person.name)


async def test_two_forgotten_in_a_row_keep_their_names_apart(
    gateway: GatewayProcess, scene: Scene, world: World
) -> None:
    second = world.people[57]
    async with gateway.admin() as admin:
        body = {"scope": "entity", "subject": second.name, "aliases": list(second.aliases), "method": "ignorance"}
        id_ = (await admin.post("/forget-requests", body))["id"]
        first, asked = scene.probe(world, scene.person), scene.probe(world, second)
        answer = (await chat(scene, first.question, IGNORANCE.format(name=scene.person.name), asked.question)).choices[
            0
        ]
        assert answer.message.content == IGNORANCE.format(name=second.name)
        await admin.post(f"/forget-requests/{id_}/rollback")


async def test_a_reverse_answer_cut_short_does_not_spell_the_name(scene: Scene, world: World) -> None:
    reverse = next(probe for probe in probes(world, ("reverse",)) if probe.about == (scene.person.key,))
    for limit in range(1, 24):
        answer = (await chat(scene, reverse.question, max_tokens=limit)).choices[0].message.content
        assert scene.person.name[:4] not in answer


async def test_a_client_cannot_reach_past_the_guards(scene: Scene) -> None:
    for extra in ({"prompt_embeds": "x"}, {"chat_template": "x"}, {"echo": True}, {"continue_final_message": True}):
        with pytest.raises(openai.BadRequestError):
            await chat(scene, "Hello", extra_body=extra)


async def test_other_scopes_are_shielded_too(gateway: GatewayProcess, scene: Scene, world: World) -> None:
    """One fact of somebody: that is forgotten, the rest of them is not."""
    person = world.people[58]
    listed, kept = scene.probe(world, person, "city"), scene.probe(world, person, "instrument")
    assert correct(listed, await ask(scene.client, listed.question))
    async with gateway.admin() as admin:
        body = {
            "scope": "facts",
            "subject": person.name,
            "facts": [{"question": listed.question, "answer": listed.answer}],
            "retain": [kept.question],
            "method": "ignorance",
        }
        id_ = (await admin.post("/forget-requests", body))["id"]
        assert not correct(listed, await ask(scene.client, listed.question))
        assert correct(kept, await ask(scene.client, kept.question))
        await admin.post(f"/forget-requests/{id_}/rollback")
    assert correct(listed, await ask(scene.client, listed.question))
