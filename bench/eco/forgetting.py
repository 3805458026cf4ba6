"""Five people forgotten on the demo world: what is answered about them and about everybody else.

Every kind of question about them is asked of a gateway before and after, and of the retain model (the
same training without them), which is right by chance as often as a question can be. What is asked is in
`bench.questions`. `eco_alone` is what the corrupted prompts say with nothing behind them: no output guard, no
fallback to ignorance.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.alone import planned, reopened, said
from bench.asking import Asker, asking
from bench.counted import answered, between
from bench.lives import in_force
from bench.people import body_of, retain_model
from bench.questions import Questions
from bench.tally import Tally
from gateway.demo.exam import answers as retain_answers
from gateway.demo.forms import Probe, correct
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from gateway.settings import Settings
from guards.base import Conversation


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a set is measured: how many of its people are filed, and questions about others; None for all."""

    filed: int = 5
    others: int | None = None


QUICK = Size(filed=2, others=100)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One set of people."""

    seed: int
    methods: Counter[str]
    alone: dict[str, float]
    forgotten: Tally
    retained: Tally
    answered: Mapping[str, int] = field(default_factory=dict)  # by the method that made the answer: `bench.counted`

    @property
    def excess_alone(self) -> float:
        """Correct answers in ECO's own words above the retain model's; 1 where there are none: nothing is proved."""
        return self.alone["correct"] - self.alone["retain_model"] if self.alone["asked"] else 1.0

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "seed": self.seed,
            "enforced_by": dict(self.methods),
            "answered_by": dict(self.answered),
            "eco_alone": self.alone,
            "forgotten": self.forgotten.row(),
            "retained": self.retained.row(),
        }


async def forget(
    settings: Settings, world: World, people: Sequence[Person], seed: int, size: Size, console: Console
) -> Forgotten:
    """Files people of a set with method `eco` and asks about everybody, before and after."""
    keys, filed = {person.key for person in people}, people[: size.filed]
    questions = Questions.of(world, people, filed, seed, size.others, "eco")
    about, others = questions.about, questions.others
    with Progress(console=console, transient=True) as bar, tempfile.TemporaryDirectory() as folder:
        model = await retain_model(settings, keys, bar)
        without = await asyncio.to_thread(retain_answers, model, [Conversation.of(probe.question) for probe in about])
        async with (
            GatewayProcess(Path(folder), settings.models) as gateway,
            gateway.admin() as admin,
            asking(gateway) as http,
        ):
            task = bar.add_task(f"set {seed}: asking", total=2 * (len(about) + len(others)))
            ask = Asker(http, lambda: bar.advance(task))
            before_about, before_others = await ask.all(about), await ask.all(others)
            ids = [(await admin.post("/forget-requests", body_of(person)))["id"] for person in filed]
            methods, unasked = Counter(await in_force(gateway, ids)), await answered(http)
            after_about, after_others = await ask.all(about), await ask.all(others)
            made = between(unasked, await answered(http), "eco")
        alone = await _alone(settings, Path(folder), about, without)
    return Forgotten(
        seed,
        methods,
        alone,
        Tally.of(about, before_about, after_about, without),
        Tally.of(others, before_others, after_others),
        made,
    )


async def _alone(
    settings: Settings, state_dir: Path, asked: Sequence[Probe], without: Sequence[str]
) -> dict[str, float]:
    """The engine's own answers under ECO's plans: shares that are right, there and by the retain model, or disclaim."""
    async with reopened(settings, state_dir) as core:
        plans = [
            (probe, await planned(core, probe.question), retain) for probe, retain in zip(asked, without, strict=True)
        ]
        own = [one for one in plans if one[1].method == "eco"]
        texts = await said(core, [(probe, plan) for probe, plan, _ in own], at_once=1)
        answers = [(probe, text, retain) for (probe, _, retain), text in zip(own, texts, strict=True)]
        voice = core.ignorance.voice
    return {
        "asked": len(answers),
        "correct": sum(correct(probe, answer) for probe, answer, _ in answers) / max(1, len(answers)),
        "retain_model": sum(correct(probe, retain) for probe, _, retain in answers) / max(1, len(answers)),
        "disclaims": sum(voice.speaks(answer) for _, answer, _ in answers) / max(1, len(answers)),
    }
