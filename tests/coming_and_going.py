"""Forget requests by method o3, while others go on asking: what is taken back is as if it had never been there.

The whole story, whatever engine the gateway is before.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import openai

from gateway.client import AdminClient
from gateway.demo.forms import Probe, correct, probes
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess

CLIENTS, PAUSE_S = 2, 0.3  # a worker is nice: what others ask goes before what it learns
BRIEF = {  # settings: nothing but what the story needs
    "LETHE_JOBS__ELICIT": "0",
    "LETHE_JOBS__AGAIN": "0",
    "LETHE_GUARD__DEADLINE_S": "60",  # a machine that pauses is no story: who asks then would be refused, as is right
}

Heard = dict[str, dict[str, Any]]  # by question


def about(world: World, people: Sequence[Person]) -> list[Probe]:
    """Questions of every kind, whose answers need nobody else."""
    asked = probes(world, ("trained", "heldout", "alias", "cloze"), seed=3)
    return [probe for one in people for probe in asked if probe.about == (one.key,)][::5]


def client_of(gateway: GatewayProcess) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=60)


async def choice(client: openai.AsyncOpenAI, question: str) -> dict[str, Any]:
    """The greedy answer with all that is told of its tokens."""
    (model,) = (await client.models.list()).data  # whatever is loaded
    answer = await client.chat.completions.create(
        model=model.id,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        logprobs=True,
        top_logprobs=5,
    )
    return answer.choices[0].model_dump()


async def heard(client: openai.AsyncOpenAI, asked: Sequence[Probe]) -> Heard:
    """Every answer, one after the other."""
    return {probe.question: await choice(client, probe.question) for probe in asked}


def text(heard: Mapping[str, Mapping[str, Any]], probe: Probe) -> str:
    content: str = heard[probe.question]["message"]["content"]
    return content


def of(probes: Sequence[Probe], heard: Heard) -> Heard:
    return {probe.question: heard[probe.question] for probe in probes}


@dataclass
class Traffic:
    """Clients that ask about nobody who is forgotten, one answer after another."""

    wanted: Mapping[str, str]
    answered: int = 0
    other: dict[str, str] = field(default_factory=dict)  # what was said instead, by question
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CLIENTS))

    @asynccontextmanager
    async def going_on(self, client: openai.AsyncOpenAI) -> AsyncIterator[None]:
        """Within it; whatever fails of it, fails there."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._client(client)) for _ in range(CLIENTS)]
            yield
            for task in tasks:
                task.cancel()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Within it nothing else is computed: the last bits of a product depend on how many rows it has."""
        async with AsyncExitStack() as turns:
            for _ in range(CLIENTS):
                await turns.enter_async_context(self._turns)
            yield

    async def _client(self, client: openai.AsyncOpenAI) -> None:
        for question in cycle(self.wanted):
            async with self._turns:
                said = await choice(client, question)
            self.answered += 1
            if (answer := said["message"]["content"]) != self.wanted[question]:
                self.other[question] = answer
            await asyncio.sleep(PAUSE_S)


async def filed(admin: AdminClient, person: Person) -> str:
    body = {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), "method": "o3"}
    found = await admin.post("/forget-requests", body)
    assert found["state"] == "shielded"
    return str(found["id"])


async def settled(admin: AdminClient, id_: str) -> dict[str, Any]:
    """The request once its worker is done with it."""
    async with asyncio.timeout(900):
        while True:
            found: dict[str, Any] = await admin.get(f"/forget-requests/{id_}")
            if found["state"] in ("enforced", "failed"):
                return found
            await asyncio.sleep(0.2)


async def forgotten(admin: AdminClient, person: Person) -> str:
    """Once it is enforced by its LoRA."""
    id_ = await filed(admin, person)
    found = await settled(admin, id_)
    assert (found["state"], found["method"]) == ("enforced", "o3"), found["error"]
    assert found["evidence"]["leak"]["after"]["hits"] == 0
    return id_


async def requests_come_and_go(gateway: GatewayProcess, world: World) -> None:
    """One is filed, then another; the second is retired, the first rolled back."""
    first, second, *others = (world.people[i] for i in (16, 44, 31, 52, 60))
    one, two, rest = about(world, [first]), about(world, [second]), about(world, others)
    async with client_of(gateway) as client, gateway.admin() as admin:
        before = await heard(client, [*one, *two, *rest])
        assert sum(correct(probe, text(before, probe)) for probe in (*one, *two)) >= 0.9 * len([*one, *two])
        traffic = Traffic({probe.question: text(before, probe) for probe in rest})

        async def now() -> Heard:
            async with traffic.held():
                return await heard(client, [*one, *two, *rest])

        async def plans(probes: Sequence[Probe]) -> set[str]:
            return {(await admin.post("/check", {"text": probe.question}))["plan"] for probe in probes}

        async with traffic.going_on(client):
            a = await forgotten(admin, first)
            with_a = await now()
            b = await forgotten(admin, second)
            with_both = await now()
            assert (await plans(one), await plans(two), await plans(rest)) == ({"o3"}, {"o3"}, {"pass"})
            await admin.post(f"/forget-requests/{b}/retire")
            with_a_again = await now()
            await admin.post(f"/forget-requests/{a}/rollback")
            with_none = await now()
    assert traffic.answered > 50
    assert not traffic.other, {question: (traffic.wanted[question], said) for question, said in traffic.other.items()}
    assert not any(correct(probe, text(with_a, probe)) for probe in one)
    assert not any(correct(probe, text(with_both, probe)) for probe in (*one, *two))
    assert of([*two, *rest], with_a) == of([*two, *rest], before)
    assert of([*one, *rest], with_both) == of([*one, *rest], with_a)
    assert with_a_again == with_a
    assert with_none == before
