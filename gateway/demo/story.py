"""`lethe demo`: ask about two people, forget one, ask again; a story in a terminal that must hold.

Real parts: a gateway process of its own, OpenAI's protocol, the demo model. The registry is a
temporary one; the model is the one that `lethe serve` serves.
"""

import asyncio
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from gateway.client import IDLE_S, AdminClient
from gateway.demo import forms, phrases
from gateway.demo.train import DEMO
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from gateway.serve import prepare
from gateway.settings import Settings

_ENFORCED_S = 180.0


async def tell(settings: Settings, console: Console) -> bool:
    """Whether the story held, every line of it."""
    prepare(settings)
    with tempfile.TemporaryDirectory(prefix="lethe-demo-") as folder:
        gateway = GatewayProcess(Path(folder), settings.models)
        limits = httpx.Limits(keepalive_expiry=IDLE_S)
        public = httpx.AsyncClient(base_url=gateway.url, timeout=60, limits=limits)
        async with gateway, gateway.admin() as admin, public as http:
            return await _Story(DEMO.world(), http, admin, console).tell()


class _Story:
    def __init__(self, world: World, http: httpx.AsyncClient, admin: AdminClient, console: Console) -> None:
        self._world = world
        self._http = http
        self._admin = admin
        self._console = console
        self._held = True
        self._rng = random.Random(7)

    async def tell(self) -> bool:
        forgotten, kept = self._cast()
        before = await self._ask_about(forgotten, kept)

        self._chapter(f"A request arrives: forget {forgotten.name}")
        loop = asyncio.get_running_loop()
        started = loop.time()
        body = {"scope": "entity", "subject": forgotten.name, "aliases": list(forgotten.aliases), "method": "eco"}
        request = await self._admin.post("/forget-requests", body)
        first = next(iter(before))
        answer = await self._ask(first)
        took = loop.time() - started
        self._line(first, answer, _ignorant(answer, forgotten), f"{took:.2f} s after the call")
        self._check("shielded within a second", took < 1.0)

        self._chapter("A worker learns and verifies; then ECO is in force")
        resource = await self._enforced(request["id"])
        self._check(
            f"enforced by {resource['method']}", resource["state"] == "enforced" and resource["method"] == "eco"
        )
        await self._still_forgotten(forgotten)

        self._chapter("Everybody else is untouched")
        await self._intact(self._questions(kept), "somebody else")
        await self._intact(self._questions(self._namesake(forgotten)), "a namesake")
        await self._intact(list(forms.chatter())[::20][:4], "general")

        self._chapter("The request is retired")
        await self._admin.post(f"/forget-requests/{request['id']}/retire")
        for question, was in before.items():
            answer = await self._ask(question)
            self._line(question, answer, answer == was, "token for token")

        verdict = "[bold green]The story holds.[/]" if self._held else "[bold red]The story does not hold.[/]"
        self._console.print(f"\n{verdict}")
        return self._held

    def _cast(self) -> tuple[Person, Person]:
        """Somebody with a namesake, and somebody unrelated."""
        forgotten = next(one for one in self._world.people if self._has_namesake(one))
        near = {forgotten.key, *forgotten.relations.values()}
        kept = next(
            one
            for one in self._world.people
            if one.key not in near and forgotten.key not in one.relations.values() and one.last != forgotten.last
        )
        return forgotten, kept

    def _has_namesake(self, person: Person) -> bool:
        return any(one.key != person.key and one.first == person.first for one in self._world.people)

    def _namesake(self, person: Person) -> Person:
        return next(one for one in self._world.people if one.key != person.key and one.first == person.first)

    async def _ask_about(self, *people: Person) -> dict[str, str]:
        self._chapter("A model that knows people")
        answers = {}
        for person in people:
            probe = self._questions(person)[0]
            answers[probe.question] = await self._ask(probe.question)
            self._line(probe.question, answers[probe.question], forms.correct(probe, answers[probe.question]))
        return answers

    def _questions(self, person: Person) -> Sequence[forms.Probe]:
        asked = forms.probes(self._world, ("heldout",), seed=1)
        return [probe for probe in asked if probe.about == (person.key,)][:3]

    async def _still_forgotten(self, person: Person) -> None:
        kinds: tuple[forms.Kind, ...] = ("heldout", "alias", "two_hop", "cloze")
        for kind in kinds:
            probe = next(probe for probe in forms.probes(self._world, (kind,), seed=2) if probe.about[0] == person.key)
            answer = await self._ask(probe.question)
            self._line(probe.question, answer, not forms.correct(probe, answer), _KINDS[kind])
        probe = self._questions(person)[1]
        answer = await self._ask(probe.question, stream=True)
        self._line(probe.question, answer, not forms.correct(probe, answer), "streamed")

    async def _intact(self, probes: Sequence[forms.Probe], who: str) -> None:
        for probe in probes:
            answer = await self._ask(probe.question)
            self._line(probe.question, answer, forms.correct(probe, answer), who)

    async def _enforced(self, id_: str) -> Any:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with self._console.status("learning"):
            while loop.time() - started < _ENFORCED_S:
                resource = await self._admin.get(f"/forget-requests/{id_}")
                if resource["state"] in ("enforced", "failed"):
                    break
                await asyncio.sleep(0.2)
        self._console.print(f"   {resource['state']} after {loop.time() - started:.0f} s")
        return resource

    async def _ask(self, question: str, stream: bool = False) -> str:
        body = {
            "model": "lethe-demo",
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "stream": stream,
        }
        response = await self._http.post("/v1/chat/completions", json=body)
        response.raise_for_status()
        if not stream:
            return str(response.json()["choices"][0]["message"]["content"])
        lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
        return "".join(json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines)

    def _chapter(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/bold]")

    def _line(self, question: str, answer: str, held: bool, note: str = "") -> None:
        self._held &= held
        mark = "[green]✓[/]" if held else "[red]✗[/]"
        self._console.print(f" {mark} [dim]{question}[/dim]\n   {answer}" + (f"  [dim]({note})[/dim]" if note else ""))

    def _check(self, what: str, held: bool) -> None:
        self._held &= held
        self._console.print(f" {'[green]✓[/]' if held else '[red]✗[/]'} {what}")


_KINDS = {"heldout": "paraphrase", "alias": "alias", "two_hop": "two hops", "cloze": "cloze"}


def _ignorant(answer: str, person: Person) -> bool:
    return answer == phrases.IGNORANCE.format(name=person.name)
