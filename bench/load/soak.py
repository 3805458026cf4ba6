"""Twenty thousand requests through the gateway: what it holds afterwards, and whether every answer was decided on.

Every twentieth prompt names somebody who is to be forgotten. The mock upstream's words in such an
answer mean that it passed undecided, whatever the counters say.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

from rich.progress import Progress

from bench.load.drive import Timing, all_of, open_loop, prompts
from bench.load.servers import Footprint
from bench.load.stage import FORGOTTEN, Bench
from bench.load.upstream import Behaviour
from gateway.demo.world import make_world

_EVERY = 20
_WARM = 0.1  # share of the requests before memory is read for the first time
_SHORT = Behaviour(tokens=16)
_SETTLE_S = 3.0
_IN_FLIGHT = 16
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of it. `undecided` answers were begun without a decision; `leaked` ones have the upstream's words."""

    asked: int
    answered: int
    undecided: int
    leaked: int
    seconds: float
    before: Footprint
    warm: Footprint
    after: Footprint
    left: int  # requests that the gateway or the upstream is still busy with

    @property
    def growth(self) -> float:
        """Of resident memory since it was warm, as a share."""
        return self.after.resident / self.warm.resident - 1

    @property
    def files(self) -> int:
        """File descriptors, connections among them, more than when it was warm."""
        return self.after.files - self.warm.files


async def soak(bench: Bench, requests: int, bar: Progress) -> Soaked:
    """That many requests, half of them streamed, a batch after the other; then a moment of rest."""
    client, pid = bench.clients["gateway"], bench.pids["gateway"]
    plain, telling = prompts(seed=2), touching(seed=3)
    await bench.behave(_SHORT)
    counted, before = await bench.counted(), Footprint.of(pid)
    warm, leaked, seconds = before, 0, 0.0
    done: list[Timing] = []
    task = bar.add_task("soak", total=requests)
    while len(done) < requests:
        touched = list(islice(telling, _BATCH // _EVERY))
        rest = list(islice(plain, _BATCH - len(touched)))
        for kind in (rest, touched):
            timings, took = await all_of(client, kind, _IN_FLIGHT)
            done += timings
            seconds += took
            if kind is touched:
                leaked += sum(one.passed for one in timings)
        bar.update(task, completed=len(done))
        if warm is before and len(done) >= _WARM * requests:
            await asyncio.sleep(_SETTLE_S)  # as before the last: connections that rest are closed by then
            warm = Footprint.of(pid)
    await asyncio.sleep(_SETTLE_S)
    after, now = Footprint.of(pid), await bench.counted()
    return Soaked(
        len(done),
        sum(one.outcome == "whole" for one in done),
        undecided(counted, now),
        leaked,
        seconds,
        before,
        warm,
        after,
        int(now["running"]) + await bench.open_upstream(),
    )


@dataclass(frozen=True, slots=True)
class Overloaded:
    """Ten times what it can do, and what a request takes a moment later, in milliseconds."""

    asked: int
    answered: int
    refused: int
    broken: int
    undecided: int
    leaked: int
    before_ms: float
    after_ms: float


async def overload(bench: Bench, rate: float, seconds: float) -> Overloaded:
    """Requests at `rate` a second for some seconds, every one of them about somebody who is to be forgotten."""
    client, telling = bench.clients["gateway"], touching(seed=4)
    await bench.behave(_SHORT)
    counted = await bench.counted()
    before, _ = await all_of(client, list(islice(telling, 50)), 1)
    timings, _ = await open_loop(client, list(islice(telling, round(rate * seconds))), rate, stream=True)
    await asyncio.sleep(_SETTLE_S)
    after, _ = await all_of(client, list(islice(telling, 50)), 1)
    outcomes = Counter(one.outcome for one in timings)
    return Overloaded(
        len(timings),
        outcomes["whole"],
        outcomes["refused"],
        outcomes["broken"] + outcomes["unreachable"],
        undecided(counted, await bench.counted()),
        sum(one.passed for one in (*before, *timings, *after)),
        1e3 * median(one.total for one in before),
        1e3 * median(one.total for one in after),
    )


def undecided(before: Mapping[str, float], after: Mapping[str, float]) -> int:
    """Answers that the gateway began in between, less its decisions."""
    return max(0, round(after["answers"] - before["answers"] - after["decisions"] + before["decisions"]))


def touching(seed: int) -> Iterator[str]:
    """Different prompts about people who are to be forgotten, without end."""
    people = make_world().people[:FORGOTTEN]
    for prompt, person in zip(prompts(seed), cycle(people), strict=False):
        yield f"{prompt} One of us asks: where does {person.name} live?"
