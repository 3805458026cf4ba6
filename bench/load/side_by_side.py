"""Direct, through the gateway and through LiteLLM, in one run: short rounds in which each has its turn.

Every server has the same core to itself while it is asked; the driver and the mock upstream have the
other. No prompt comes twice, so that no verdict is remembered. Ratios come with intervals from a
bootstrap over rounds.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import nan

import numpy as np
from rich.progress import Progress

from bench.load.drive import Outcome, Timing, closed_loop, heard, one_by_one, open_loop, prompts
from bench.load.servers import Footprint
from bench.load.stage import Bench
from bench.load.upstream import Behaviour
from guards.encoder import Floats

Statistic = Callable[[Mapping[str, Floats]], float]

_IN_FLIGHT = 16
_RESAMPLES = 2000
_RATE = 40.0  # requests a second
_REST_S = 0.5
_AT_ONCE = Behaviour()
_BRISK = Behaviour(tokens=16, between_s=0.002)
_PACED = Behaviour(first_s=0.01, between_s=0.005)


@dataclass(slots=True)
class Found:
    """What was measured: `values[measure][server]` has one list a round.

    `failed` counts the outcomes of each server's requests that did not end whole. `late_ms`: the driver's, at most.
    """

    values: dict[str, dict[str, list[list[float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    failed: dict[str, Counter[Outcome]] = field(default_factory=lambda: defaultdict(Counter))
    late_ms: float = 0.0

    def note(self, server: str, timings: Sequence[Timing], **values: list[float]) -> None:
        """One server's turn."""
        self.failed[server].update(one.outcome for one in timings if one.outcome != "whole")
        for measure, found in values.items():
            self.values[measure][server].append(found)

    def of(self, measure: str, server: str) -> list[float]:
        """All rounds together."""
        return [value for values in self.values[measure][server] for value in values]

    def interval(self, measure: str, statistic: Statistic) -> tuple[float, float, float]:
        """A statistic of each server's values, and the middle 95 % of it when rounds are drawn anew; of one, NaN."""
        rng = np.random.default_rng(0)
        servers = self.values[measure]
        rounds = len(next(iter(servers.values())))

        def drawn(picked: Iterable[int]) -> float:
            places = list(picked)
            return statistic(
                {
                    name: np.concatenate([np.asarray(found[i], np.float32) for i in places])
                    for name, found in servers.items()
                }
            )

        if rounds < 2:
            return drawn(range(rounds)), nan, nan
        again = [drawn(rng.integers(rounds, size=rounds)) for _ in range(_RESAMPLES)]
        low, high = np.quantile(again, [0.025, 0.975])
        return drawn(range(rounds)), float(low), float(high)


async def compare(bench: Bench, rounds: int, scale: float, bar: Progress) -> Found:
    """Rounds in which every server has its turn at every measure, in an order drawn anew; `scale` shortens them."""
    rng, source, found = random.Random(0), prompts(seed=1), Found()
    for client in bench.clients.values():
        for stream in (True, False):
            warm = await one_by_one(client, islice(source, 20), stream=stream)
            assert all(one.outcome == "whole" and one.passed for one in warm), f"{client.target.name} does not answer"
            found.note(client.target.name, warm)
    turn = _Turn(bench, source, scale, found)
    for i in bar.track(range(rounds), description="side by side"):
        order = rng.sample(sorted(bench.clients), len(bench.clients))
        proxies = [name for name in order if name != "direct"]
        for measure, servers, how in (
            (turn.latency, order, _AT_ONCE),
            (turn.first, order, _BRISK),
            (turn.cost, order, _PACED),
            (turn.saturated, proxies, _AT_ONCE),
            (turn.at_rate, proxies, _AT_ONCE),
        ):
            await bench.behave(how)
            for name in servers:
                await measure(name, i)
                await asyncio.sleep(_REST_S)  # what a server does after its answers is not charged to the next
    return found


@dataclass(frozen=True, slots=True)
class _Turn:
    """The measures, each for one server in one round."""

    bench: Bench
    source: Iterator[str]
    scale: float
    found: Found

    async def latency(self, name: str, seed: int) -> None:
        timings = await one_by_one(self.bench.clients[name], self._some(40), stream=False)
        self.found.note(name, timings, whole_ms=[1e3 * one.total for one in heard(timings)])

    async def first(self, name: str, seed: int) -> None:
        timings = await one_by_one(self.bench.clients[name], self._some(20), stream=True)
        self.found.note(name, timings, first_ms=[1e3 * one.first for one in heard(timings)])

    async def cost(self, name: str, seed: int) -> None:
        before = self._cpu(name)
        timings = await self._open(name, 40, 15.0, stream=True, seed=seed)
        self.found.note(name, timings, stream_cpu_ms=[1e3 * (self._cpu(name) - before) / len(timings)])

    async def saturated(self, name: str, seed: int) -> None:
        for kind, stream in (("streams", True), ("wholes", False)):
            client, before = self.bench.clients[name], self._cpu(name)
            timings, took = await closed_loop(client, self.source, _IN_FLIGHT, 2 * self.scale, stream=stream)
            cpu_ms = 1e3 * (self._cpu(name) - before) / len(timings)
            whole = sum(one.outcome == "whole" for one in timings)
            self.found.note(name, timings, **{f"{kind}_a_second": [whole / took], f"{kind}_busy_cpu_ms": [cpu_ms]})

    async def at_rate(self, name: str, seed: int) -> None:
        for kind, stream in (("wholes", False), ("streams", True)):
            timings = await self._open(name, 200, _RATE, stream=stream, seed=seed)
            self.found.note(name, timings, **{f"{kind}_at_rate_ms": [1e3 * one.total for one in heard(timings)]})

    async def _open(self, name: str, count: int, rate: float, *, stream: bool, seed: int) -> list[Timing]:
        timings, late = await open_loop(self.bench.clients[name], self._some(count), rate, stream=stream, seed=seed)
        self.found.late_ms = max(self.found.late_ms, 1e3 * late)
        return timings

    def _some(self, count: int) -> list[str]:
        return list(islice(self.source, max(5, round(self.scale * count))))

    def _cpu(self, name: str) -> float:
        return Footprint.of(self.bench.pids[name]).cpu_s


def added(values: Mapping[str, Floats]) -> float:
    """The gateway's median over the direct one, as a share of LiteLLM's."""
    direct = float(np.median(values["direct"]))
    return (float(np.median(values["gateway"])) - direct) / (float(np.median(values["litellm"])) - direct)


def mean_ratio(values: Mapping[str, Floats]) -> float:
    """The gateway's mean as a share of LiteLLM's."""
    return float(values["gateway"].mean() / values["litellm"].mean())


def p99_ratio(values: Mapping[str, Floats]) -> float:
    """The gateway's 99th percentile as a share of LiteLLM's."""
    ours, theirs = values["gateway"], values["litellm"]
    return float(np.quantile(ours, 0.99) / np.quantile(theirs, 0.99)) if len(ours) and len(theirs) else nan
