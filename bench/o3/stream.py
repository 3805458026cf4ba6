"""Twenty forget requests one after another, through a gateway process; then one of them taken back.

After each request the same probes are asked of everybody who is forgotten so far and of those who are not. In the
end one request from the middle is retired: answers about the others must be what they were, and those about the
retired one what they were before all requests, to the letter. Then O3 alone, see `alone`.
"""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bench.alone import reopened
from bench.asking import Asker, asking
from bench.counted import answered, between
from bench.history import history, took
from bench.lives import in_force
from bench.o3.alone import About, Alone, alone
from bench.o3.detector import Detected, of_stream
from bench.o3.matrix import Matrix
from bench.o3.people import Stream, asked_of, filed
from bench.people import KINDS, retain_model
from bench.questions import about_others
from bench.tally import Kept
from gateway.demo.exam import answers as retain_answers
from gateway.demo.forms import Probe, correct, probes
from gateway.demo.world import World
from gateway.process import GatewayProcess
from gateway.settings import Settings
from guards.base import Conversation

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is asked: requests, probes a person, others at each step, and others before and after all."""

    requests: int | None = None
    each: int = 40  # of one person one answer is less than three points
    others: int = 150
    before: int = 1000


QUICK = Size(requests=3, each=12, others=40, before=80)


@dataclass(frozen=True, slots=True)
class Retired:
    """One request taken back: answers about other requests and about nobody who is forgotten, and about itself.

    Of each, how many are what they have to be.
    """

    request: int
    others: int
    others_same: int
    own: int
    own_bare: int

    @property
    def same(self) -> float:
        """Share of answers to everybody else's probes that did not change."""
        return self.others_same / self.others

    @property
    def bare(self) -> float:
        """Share of answers to its own probes that are the bare model's."""
        return self.own_bare / self.own


@dataclass(frozen=True, slots=True)
class Streamed:
    """One stream. `steps` are a row a request; `utility` is over all probes of others that were asked before."""

    seed: int
    matrix: Matrix
    steps: tuple[Json, ...]
    utility: Kept
    retired: Retired
    alone: Alone
    detected: Detected | None  # None where no detector is in force

    @property
    def lowest(self) -> float:
        """The lowest share of correct answers about others at any step, of those before."""
        return float(min(step["utility"] for step in self.steps))


async def persist(settings: Settings, world: World, seed: int, size: Size, method: str, bar: Progress) -> Streamed:
    """Files a stream's requests with a method, by turns with asking."""
    stream = Stream.of(world, seed)
    everything = probes(world, KINDS, seed=300 + seed)
    about = asked_of(stream, everything, size.each)[: size.requests]
    others = about_others(world, everything, stream.keys)
    others = random.Random(seed).sample(others, min(size.before, len(others)))
    with tempfile.TemporaryDirectory() as folder:
        model = await retain_model(settings, set(stream.keys), bar)
        without = [await _without(model, own) for own in about]
        async with (
            GatewayProcess(Path(folder), settings.models) as gateway,
            gateway.admin() as admin,
            asking(gateway) as http,
        ):
            steps = len(about)
            counts = [sum(map(len, about[: t + 1])) + size.others for t in range(steps)]
            total = sum(counts) + sum(map(len, about)) + 2 * len(others) + counts[-1]
            task = bar.add_task(f"stream {seed}: asking", total=total)
            ask = Asker(http, lambda: bar.advance(task))
            bare = [await ask.all(own) for own in about]
            before = await ask.all(others)
            few = slice(size.others)
            ids, said, rows = [], list[list[list[str]]](), []
            for t, people in enumerate(stream.requests[:steps]):
                before_it = await answered(http)
                ids.append((await admin.post("/forget-requests", filed(people, method)))["id"])
                *_, enforced_by = await in_force(gateway, ids)
                said.append([await ask.all(own) for own in about[: t + 1]])
                kept = Kept.of(others[few], before[few], await ask.all(others[few]))
                learning = took(await history(admin, ids[-1]))
                rows.append(
                    {
                        "request": t + 1,
                        "people": len(people),
                        "enforced_by": enforced_by,
                        "utility": kept.share,
                        "unchanged": kept.unchanged,
                        "answered_by": between(before_it, await answered(http), method),
                        "training_s": learning.training,
                        "learning_s": learning.learning,
                    }
                )
            utility = Kept.of(others, before, await ask.all(others))
            last = (said[-1], await ask.all(others[few]))
            await admin.post(f"/forget-requests/{ids[steps // 2]}/retire")
            again = ([await ask.all(own) for own in about], await ask.all(others[few]))
            retired = _retired(steps // 2, last, again, bare)
        matrix = Matrix(
            tuple(map(len, about)),
            tuple(_right(own, texts) for own, texts in zip(about, without, strict=True)),
            tuple(tuple(_right(about[i], said[t][i]) for t in range(i, steps)) for i in range(steps)),
        )
        served = [About(ids[i], about[i], without[i]) for i in range(steps) if i != steps // 2]
        task = bar.add_task(f"stream {seed}: O3 alone", total=None)
        async with reopened(settings, Path(folder)) as core:
            by_itself = await alone(core, served, others[few], before[few], lambda: bar.advance(task))
            detected = await of_stream(core, world, stream, {id_: i for i, id_ in enumerate(ids)})
    return Streamed(seed, matrix, tuple(rows), utility, retired, by_itself, detected)


async def _without(model: Path, asked: Sequence[Probe]) -> list[str]:
    """What the retain model answers."""
    return await asyncio.to_thread(retain_answers, model, [Conversation.of(probe.question) for probe in asked])


def _right(asked: Sequence[Probe], texts: Sequence[str]) -> int:
    return sum(correct(probe, text) for probe, text in zip(asked, texts, strict=True))


def _retired(
    place: int,
    last: tuple[Sequence[Sequence[str]], Sequence[str]],
    again: tuple[Sequence[Sequence[str]], Sequence[str]],
    bare: Sequence[Sequence[str]],
) -> Retired:
    """Compares answers of before and after; each by request, and those about nobody who is forgotten."""
    groups = [(a, b) for i, (a, b) in enumerate(zip(last[0], again[0], strict=True)) if i != place]
    groups.append((last[1], again[1]))
    same = sum(sum(map(str.__eq__, a, b)) for a, b in groups)
    own = sum(map(str.__eq__, bare[place], again[0][place]))
    return Retired(place + 1, sum(len(a) for a, _ in groups), same, len(bare[place]), own)
