"""Five people forgotten by ULD on the demo world, through a gateway process; then by ULD alone, see `alone`.

People are those of `bench.people`, questions those of `bench.questions`, marks those of
`bench.tally`.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.alone import reopened
from bench.asking import Asker, Bare, Public, asking
from bench.counted import answered, between
from bench.draws import DRAWS, Leak
from bench.lives import in_force
from bench.people import body_of, retain_model
from bench.questions import Questions
from bench.tally import Kept, Tally
from bench.truth import items
from bench.uld.alone import Alone, Asked, alone
from gateway.demo.exam import answers as retain_answers
from gateway.demo.train import quiet
from gateway.demo.world import Person, World
from gateway.engines.local import LocalEngine
from gateway.process import GatewayProcess
from gateway.settings import Settings
from guards.base import Conversation

_UNDER_ALL = 1500  # retained questions that are answered under all assistants
_GUESSED = "choice"  # of 128 draws one is right whatever is known


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a set is measured.

    Attributes:
        filed: of its people.
        sampled: questions about them of which many answers are drawn.
        others: questions about everybody else; None for all.
    """

    filed: int = 5
    sampled: int = 120  # one question is less than a point
    others: int | None = None


QUICK = Size(filed=1, sampled=5, others=100)


@dataclass(frozen=True, slots=True)
class Unlearned:
    """One set of people."""

    seed: int
    methods: Counter[str]
    forgotten: Tally
    kept: Kept
    leak: Leak
    alone: Alone
    answered: Mapping[str, int] = field(default_factory=dict)  # by the method that made the answer: `bench.counted`

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seed": self.seed,
            "enforced_by": dict(self.methods),
            "answered_by": dict(self.answered),
            "forgotten": self.forgotten.row(),
            "retained": self.kept.row(),
            "leak": self.leak.row(),
            "uld_alone": self.alone.row(),
        }


async def unlearn(
    settings: Settings, world: World, people: Sequence[Person], seed: int, size: Size, console: Console
) -> Unlearned:
    """Files people of a set with method `uld` and asks about everybody; to some questions many answers are drawn."""
    keys, filed = {person.key for person in people}, people[: size.filed]
    questions = Questions.of(world, people, filed, seed, size.others, "uld")
    about, others = questions.about, questions.others
    open_ones = [probe for probe in about if probe.kind != _GUESSED]
    sample = random.Random(seed).sample(open_ones, size.sampled)
    with Progress(console=console, transient=True) as bar, tempfile.TemporaryDirectory() as folder:
        model = await retain_model(settings, keys, bar)
        without = await asyncio.to_thread(retain_answers, model, [Conversation.of(probe.question) for probe in about])
        async with (
            GatewayProcess(Path(folder), settings.models) as gateway,
            gateway.admin() as admin,
            asking(gateway) as http,
        ):
            task = bar.add_task(f"set {seed}: asking", total=2 * (len(about) + len(others)) + size.sampled)
            ask = Asker(http, lambda: bar.advance(task))
            before_about, before = await ask.all(about), await ask.all(others)
            bodies = [body_of(person) | {"method": "uld"} for person in filed]
            ids = [(await admin.post("/forget-requests", body))["id"] for body in bodies]
            methods, unasked = Counter(await in_force(gateway, ids)), await answered(http)
            after_about, after = await ask.all(about), await ask.all(others)
            draws = []
            for probe in sample:
                draws.append(await Public(http).draws(probe.question, DRAWS))
                bar.advance(task)
            made = between(unasked, await answered(http), "uld")
        retain = LocalEngine(model, "retain")
        with quiet():
            await retain.start()
        try:
            some = sorted(random.Random(seed).sample(range(len(others)), min(_UNDER_ALL, len(others))))
            task = bar.add_task(f"set {seed}: ULD alone", total=len(about) + len(some))
            chance = [await Bare(retain).draws(probe.question, DRAWS) for probe in sample]
            async with reopened(settings, Path(folder)) as core:
                found = Asked(
                    about,
                    without,
                    [others[i] for i in some],
                    [before[i] for i in some],
                    items(world, {person.key for person in filed}, seed=200 + seed),
                )
                by_itself = await alone(core, retain, found, lambda: bar.advance(task))
        finally:
            await retain.close()
    return Unlearned(
        seed,
        methods,
        Tally.of(about, before_about, after_about, without),
        Kept.of(others, before, after),
        Leak.of(sample, draws, chance),
        by_itself,
        made,
    )
