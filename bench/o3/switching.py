"""Switches that nobody is to notice: forget requests come and go before a real vLLM, while clients never stop asking.

Two people's LoRAs are learnt once. Then one's request is filed and the other's retired, by turns, through the Admin
API, with no worker: what learning made of a request is handed over through the registry, as a worker ends, under a
content of its own each time, since a server knows what it has loaded by content. From there to the end of the first
answer under the LoRA is the switch; the gateway sees it at its next poll, and loads every level of weight.
What must not be noticed is in `noticed`.
"""

import asyncio
import json
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
from rich.progress import Progress

from adapters.base import Artifact
from adapters.o3.adapter import LEVELS
from adapters.o3.concatenation import CONFIG
from bench.asking import Asker, asking, chat
from bench.counted import samples
from bench.lives import settled
from bench.o3.noticed import Answer, Force, Switched, switched
from bench.o3.people import filed
from bench.own import own
from bench.serving import VllmProcess
from gateway.client import AdminClient
from gateway.demo.forms import Kind, Probe, correct, probes
from gateway.demo.train import DEMO
from gateway.demo.world import Person, World
from gateway.engines.factory import model_folder
from gateway.engines.loras import wanted
from gateway.jobs.training import contents
from gateway.process import GatewayProcess
from gateway.registry import Artifacts, Registry, State, Vault
from gateway.settings import Settings

_FORGOTTEN, _OTHERS = (16, 44), (31, 52, 60)  # people, by place
_KINDS: tuple[Kind, ...] = ("trained", "heldout", "alias", "cloze")
_MODEL = "lethe-demo"  # as it is asked for
_RANK = 8  # one of vLLM's own numbers, and room for two LoRAs at once
_CLIENTS = 4  # that ask about who comes and goes, and as many that ask about others
_EACH = 2  # answers that every client has between two switches
_LEARNING = {"LETHE_JOBS__ELICIT": "0", "LETHE_JOBS__AGAIN": "0"}  # nothing is elicited, nobody asked again
_LONGEST_S, _POLL_S = 60.0, 0.01  # of a switch
_DECISIONS, _PLANS, _FALLBACKS = "lethe_decisions_total", "lethe_plans_total", "lethe_fallbacks_total"
_OTHERWISE = 1e-6  # by this share of its scale a LoRA is another content, and the same LoRA

Json = dict[str, Any]


async def coming_and_going(settings: Settings, switches: int, bar: Progress) -> Switched:
    """Switches so many times before a vLLM of its own.

    Raises:
        VllmError: there is no vLLM, or it does not start.
        ClientError: a gateway does not start, or refuses what it is told.
    """
    world = DEMO.world()
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        (root / "laid").mkdir()
        state = own(settings, root / "state")
        folder = model_folder(state)
        people = [world.people[i] for i in _FORGOTTEN]
        task = bar.add_task("O3 learns for two people", total=None)
        learnt = await _learnt(state, people)
        bar.remove_task(task)
        slots, _ = wanted(switches + len(people), len(LEVELS), apart=False)
        async with VllmProcess(folder, root / "log", name=_MODEL, loras=slots, rank=_RANK) as server:
            environment = {
                "LETHE_ENGINE__KIND": "vllm",
                "LETHE_ENGINE__URL": server.url,
                "LETHE_ENGINE__MODEL": server.name,
                "LETHE_ENGINE__FOLDER": str(folder),
                "LETHE_ENGINE__ADAPTERS": str(root / "laid"),
                "LETHE_JOBS__ENABLED": "false",
            }
            async with (
                _Worker.of(state, learnt) as worker,
                GatewayProcess(state.state_dir, settings.models, environment) as gateway,
                gateway.admin() as admin,
                asking(gateway) as http,
            ):
                scene = await _Scene.of(world, people, http)
                return await _Story(scene, admin, worker).told(switches, bar)


async def _learnt(settings: Settings, people: Sequence[Person]) -> dict[str, str]:
    """Ids of enforced requests, by person, each ended again: what was learned of them lies there yet."""
    ids = {}
    async with GatewayProcess(settings.state_dir, settings.models, _LEARNING) as gateway, gateway.admin() as admin:
        for person in people:
            ids[person.key] = (await admin.post("/forget-requests", filed([person], "o3")))["id"]
            enforced_by = await settled(admin, ids[person.key])
            assert enforced_by == "o3, enforced", enforced_by
    return ids


class _Worker:
    """What a worker would do at its end, with what was learned once, of every request that is filed."""

    def __init__(self, registry: Registry, artifacts: Artifacts) -> None:
        self._registry, self._artifacts = registry, artifacts
        self._learnt: dict[str, tuple[Artifact, dict[str, bytes]]] = {}
        self._handed = 0

    @classmethod
    @asynccontextmanager
    async def of(cls, settings: Settings, learnt: Mapping[str, str]) -> AsyncIterator["_Worker"]:
        """Knows the LoRAs of these requests, which it ends."""
        vault = Vault.open(settings.registry.key, settings.state_dir)
        registry = await Registry.open(settings.registry_url, vault)
        artifacts = Artifacts(settings.state_dir / "artifacts", vault)
        try:
            worker = cls(registry, artifacts)
            for key, id_ in learnt.items():
                artifact = await artifacts.get((await registry.get(id_)).artifacts["o3"])
                worker._learnt[key] = artifact, contents(artifact)
                await registry.move(id_, State.RETIRED, actor="bench", method=None)
            yield worker
        finally:
            artifacts.close()
            await registry.close()

    async def hands_over(self, id_: str, key: str) -> float:
        """The request of a person is enforced by its LoRA, as far as the registry knows; when it was told."""
        self._handed += 1
        artifact, files = self._learnt[key]
        config = json.loads(files[CONFIG])
        config["lora_alpha"] *= 1 + self._handed * _OTHERWISE
        manifest = {**artifact.manifest, "lora": f"{artifact.manifest['lora']}-{self._handed}"}
        digest = await self._artifacts.store("o3", id_, manifest, {**files, CONFIG: json.dumps(config).encode()})
        for state in (State.LEARNING, State.VERIFYING):
            await self._registry.move(id_, state, actor="bench")
        now = perf_counter()
        await self._registry.move(id_, State.ENFORCED, actor="bench", method="o3", artifacts={"o3": digest})
        return now


@dataclass(frozen=True, slots=True)
class _Scene:
    """Who comes and goes, what is asked about them and about others, and what was answered before all."""

    people: Sequence[Person] = field(repr=False)
    about: Mapping[str, Sequence[Probe]] = field(repr=False)
    others: Sequence[Probe] = field(repr=False)
    before: Mapping[str, str] = field(repr=False)
    http: httpx.AsyncClient = field(repr=False)

    @classmethod
    async def of(cls, world: World, people: Sequence[Person], http: httpx.AsyncClient) -> "_Scene":
        """Asks about everybody what the bare model knows."""
        asked = probes(world, _KINDS, seed=3)
        about = {one.key: [probe for probe in asked if probe.about == (one.key,)] for one in people}
        keys = {world.people[i].key for i in _OTHERS}
        others = [probe for probe in asked if len(probe.about) == 1 and keys.issuperset(probe.about)]
        every = [*others, *(probe for own in about.values() for probe in own)]
        said = await Asker(http, lambda: None).all(every)
        before = {probe.question: text for probe, text in zip(every, said, strict=True)}
        known = {key: [one for one in own if correct(one, before[one.question])] for key, own in about.items()}
        return cls(people, known, others, before, http)

    async def ask(self, probe: Probe) -> Answer:
        """Through the public API."""
        sent = perf_counter()
        try:
            response = await self.http.post("/v1/chat/completions", json=chat(probe.question))
        except httpx.TransportError:
            return Answer(probe, sent, perf_counter(), 0, "")
        came, status = perf_counter(), response.status_code
        text = str(response.json()["choices"][0]["message"]["content"]) if status == 200 else ""
        return Answer(probe, sent, came, status, text)

    async def counted(self, name: str, label: str) -> Counter[str]:
        """The gateway's counts of one kind, by a label."""
        found: Counter[str] = Counter()
        for sample in await samples(self.http, name):
            if name != _FALLBACKS or sample.labels["method"] == "o3":
                found[sample.labels[label]] += int(sample.value)
        return found


class _Story:
    """Clients that never pause, and somebody at the Admin API."""

    def __init__(self, scene: _Scene, admin: AdminClient, worker: _Worker) -> None:
        self._scene, self._admin, self._worker = scene, admin, worker
        self._answers: list[Answer] = []
        self._forces: list[Force] = []
        self._given = asyncio.Condition()
        self._over = False

    async def told(self, switches: int, bar: Progress) -> Switched:
        """All of it, from the first request to the last."""
        scene, first = self._scene, []
        counts = ((_DECISIONS, "decision"), (_PLANS, "method"), (_FALLBACKS, "reason"))
        before = [await scene.counted(*one) for one in counts]
        about = [probe for own in scene.about.values() for probe in own]
        async with asyncio.TaskGroup() as group:
            for i in range(_CLIENTS):
                group.create_task(self._asks(about, i))
                group.create_task(self._asks(scene.others, i))
            ends = None
            for i in bar.track(range(switches), description="O3 behind a gateway"):
                person = scene.people[i % len(scene.people)]
                id_, since = await self._filed(person)
                first.append(await self._first(id_, person))
                if ends:
                    await self._retired(*ends)
                ends = id_, person, since
                await self._more(2 * _CLIENTS * _EACH)
            assert ends
            await self._retired(*ends)
            await self._more(2 * _CLIENTS)
            self._over = True
        after = [await scene.counted(*one) for one in counts]
        decisions, plans, fallbacks = (dict(b - a) for a, b in zip(before, after, strict=True))
        return switched(self._answers, self._forces, scene.before, tuple(first), decisions, plans, fallbacks)

    async def _filed(self, person: Person) -> tuple[str, float]:
        id_ = (await self._admin.post("/forget-requests", filed([person], "o3")))["id"]
        return id_, perf_counter()

    async def _first(self, id_: str, person: Person) -> float:
        """Seconds from the hand-over to the end of the first answer under the LoRA."""
        probe = self._scene.about[person.key][0]
        started = await self._worker.hands_over(id_, person.key)
        async with asyncio.timeout(_LONGEST_S):
            await self._planned(probe)
        answer = await self._scene.ask(probe)
        self._answers.append(answer)
        return answer.came - started

    async def _planned(self, probe: Probe) -> None:
        """Returns when the question would be answered under a LoRA."""
        while True:
            if (await self._admin.post("/check", {"text": probe.question}))["plan"] == "o3":
                return
            await asyncio.sleep(_POLL_S)

    async def _retired(self, id_: str, person: Person, since: float) -> None:
        self._forces.append(Force(person.key, since, perf_counter()))
        await self._admin.post(f"/forget-requests/{id_}/retire")

    async def _asks(self, asked: Sequence[Probe], seed: int) -> None:
        for probe in cycle(random.Random(seed).sample(asked, len(asked))):
            if self._over:
                return
            answer = await self._scene.ask(probe)
            async with self._given:
                self._answers.append(answer)
                self._given.notify_all()

    async def _more(self, count: int) -> None:
        """So many more answers are given, or fail."""
        until = len(self._answers) + count
        async with self._given:
            await self._given.wait_for(lambda: len(self._answers) >= until)
