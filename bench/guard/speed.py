"""How long a decision takes, how many there are in a second, and what a million targets weigh.

A decision is `Runner.classify` with both guards on a conversation never seen before; nothing is
remembered. Targets are made up: requests of twenty positives and five negatives each, rows around
encodings of real prompts (mixtures of two, and noise), half of them entities, half facts, one in ten
with knowledge and a classifier, of people whose names share first names and surnames as real ones do.
Latency is measured one decision at a time on one core, with the encoder that the settings name and with
one that only looks vectors up: the difference is the encoder's share. It is CPU time, which is what
passes on a core of one's own; what passed by the clock, other work on the machine included, stands
beside it.
"""

import asyncio
import gc
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from bench.result import Figure
from gateway.core import guard_encoder
from gateway.settings import Settings
from guards.aliases import Alias
from guards.base import Conversation, Runner
from guards.calibration import UNCALIBRATED
from guards.classifier import Classifier
from guards.dense import DenseGuard
from guards.encoder import Encoder, Floats
from guards.evidence import Marks
from guards.index import TargetIndex
from guards.knowledge import Knowledge
from guards.lexicon import AT_ONCE, LexiconGuard, LexiconIndex
from guards.nearest import Hashed
from guards.reading import Text
from guards.targets import Background, Targets, ordinary_prompts

Row = dict[str, Any]

_ROWS, _NEGATIVES = 20, 5  # of a request
_KNOWN = 10  # of so many requests one has knowledge and a classifier
_DEADLINE_S = 10.0
_IN_FLIGHT = 16
_NOISE = 0.6
_ADDED = 100
_FORMS = (
    "{} I am asking on behalf of {}, who has to hand it in before the {} of the month?",
    "In the words of {1}, a friend of mine, and for the {2} time now: {0}",
    "Where was {1} born, and what is known of the {2} book that this author wrote about it?",
    "Which prize did {1} win for the {2} novel, and what did the jury say about its language?",
)


@dataclass(frozen=True, slots=True)
class _Gateway:
    """What decides, as the policy has it; `runner` sees the requests that were there when it was made."""

    encoder: Encoder
    index: TargetIndex
    names: LexiconIndex
    requests: frozenset[str]

    def runner(self, encoder: Encoder | None = None) -> Runner:
        dense = DenseGuard(encoder or self.encoder, self.index.view(self.requests))
        return Runner((LexiconGuard(self.names.view(self.requests)), dense), _DEADLINE_S)


class _Known:
    """An encoder that costs nothing: vectors that were made before."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors: dict[str, Floats] = {}

    @property
    def identity(self) -> str:
        return self._encoder.identity

    @property
    def dim(self) -> int:
        return self._encoder.dim

    async def encode(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        missing = [text for text in texts if text not in self._vectors]
        if missing:
            made = await self._encoder.encode(missing, bulk=bulk)
            self._vectors.update(zip(missing, made, strict=True))
        return np.stack([self._vectors[text] for text in texts])

    async def layers(self, texts: Sequence[str], *, bulk: bool = False) -> Floats:
        return await self._encoder.layers(texts, bulk=bulk)

    async def close(self) -> None:
        await self._encoder.close()


async def measure_speed(
    settings: Settings, quick: bool, console: Console
) -> tuple[list[Figure], dict[str, Sequence[Row]]]:
    """Figures of latency, throughput and memory, and the tables behind them; quick is a tenth of the million."""
    many = 100_000 if quick else 1_000_000
    count = 150 if quick else 600
    figures: list[Figure] = []
    latencies: list[Row] = []
    encoder = await guard_encoder(settings)
    background = await Background.of(encoder)
    seeds = await _seeds(encoder)
    with one_core(), threadpool_limits(1, "blas"):  # as gateway.core has it
        for size in (many, 10_000):  # what the smaller one gives back would be memory that the larger need not ask for
            before = _resident()
            async with _filled(encoder, background, seeds, size, console) as gateway:
                gigabytes = (_resident() - before) / size * 1e6 / 1e9
                rows = await _latencies(gateway, size, count, console)
                latencies += rows
                whole = rows[0]
                if size == many:
                    figures += [
                        Figure.of(f"decision, p99, {size:,} targets", whole["p99 ms"], "<=", 20, "ms"),
                        Figure.of("memory per million targets", gigabytes, "<=", 2, "GB"),
                        Figure.of("searchable after adding, p99", await _adding(gateway, seeds), "<=", 50, "ms"),
                    ]
                else:
                    figures += [
                        Figure.of("decision, p50, 10,000 targets", whole["p50 ms"], "<=", 4, "ms"),
                        Figure.of("decision, p99, 10,000 targets", whole["p99 ms"], "<=", 12, "ms"),
                    ]
    await encoder.close()
    rate, failed = await _rate(settings, seeds, count)
    undecided = failed + sum(row["undecided"] for row in latencies)
    figures += [
        Figure.of("decisions per second, two cores", rate, ">=", 200, "/s"),
        Figure.of("prompts that a guard could not decide while it was timed", undecided, "<=", 0),
    ]
    recall = _recall(seeds, 50_000 if quick else 200_000)
    figures.append(Figure.of("recall of the search, worst limit", min(row["recall"] for row in recall), ">=", 0.999))
    return figures, {"latency": latencies, "search": recall}


async def _seeds(encoder: Encoder) -> Floats:
    return await encoder.encode([*ordinary_prompts(), *_prompts(400, random.Random(1))], bulk=True)


def _prompts(count: int, rng: random.Random) -> list[str]:
    """Different questions of about thirty tokens, half of them about somebody."""
    ordinary = ordinary_prompts()
    return [
        rng.choice(_FORMS).format(rng.choice(ordinary), _name(rng), f"{rng.randrange(3, 999)}th") for _ in range(count)
    ]


def _name(rng: random.Random) -> str:
    """First names come from two hundred, surnames from twenty thousand, both unevenly."""

    def syllables(number: int, length: int) -> str:
        source = random.Random(number)
        return "".join(source.choice("bdfgklmnprstvz") + source.choice("aeiou") for _ in range(length)).title()

    return f"{syllables(int(200 * rng.random() ** 2), 2)} {syllables(1_000 + int(20_000 * rng.random() ** 2), 4)}"


def _clustered(count: int, seeds: Floats, rng: np.random.Generator) -> Floats:
    """Rows between two seeds each, and noise beside them, (count, d)."""
    one, other = rng.integers(len(seeds), size=(2, count))
    share = rng.uniform(0.5, 1.0, (count, 1)).astype(np.float32)
    rows = _unit(share * seeds[one] + (1 - share) * seeds[other])
    return _unit(rows + _NOISE * _unit(rng.standard_normal(rows.shape, dtype=np.float32)))


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def _requests(count: int, encoder: Encoder, seeds: Floats, seed: int = 0) -> Iterator[Targets]:
    names, rng = random.Random(seed), np.random.default_rng(seed)
    prior = Classifier.prior(encoder.dim)
    for i in range(count):
        name = _name(names)
        entity, known = i % 2 == 0, i % _KNOWN == 0
        rows = _clustered(_ROWS + _NEGATIVES, seeds, rng).astype(np.float16)
        yield Targets(
            request=f"{seed}-{i}",
            scope="entity" if entity else "facts",
            encoder=encoder.identity,
            aliases=(Alias(name, strong=entity),),
            positives=rows[:_ROWS].copy(),
            negatives=rows[_ROWS:].copy(),
            marks=Marks.of([f"Where was {name} born?"] * _ROWS, [name]),
            threshold=0.62 + 0.08 * names.random(),
            calibration=UNCALIBRATED,
            knowledge=Knowledge.of([name], [f"Where was {name} born?"], []) if known else None,
            classifier=prior if known else None,
        )


@asynccontextmanager
async def _filled(
    encoder: Encoder, background: Background, seeds: Floats, size: int, console: Console
) -> AsyncIterator[_Gateway]:
    index, names = TargetIndex(background), LexiconIndex(AT_ONCE)
    with Progress(console=console, transient=True) as bar:
        wanted = size // _ROWS
        making = _requests(wanted, encoder, seeds)
        many = [*bar.track(making, total=wanted, description=f"making {size:,} rows")]
    await names.extend([(targets.request, targets.aliases) for targets in many])
    await index.extend(many)
    requests = frozenset(targets.request for targets in many)
    del many
    gc.collect()
    yield _Gateway(encoder, index, names, requests)


async def _latencies(gateway: _Gateway, size: int, count: int, console: Console) -> list[Row]:
    """The whole decision first, then without the encoder."""
    known = _Known(gateway.encoder)
    rows = []
    for name, encoder in (("whole", gateway.encoder), ("without the encoder", known)):
        runner = gateway.runner(encoder)
        prompts = _prompts(count, random.Random(2))
        if encoder is known:
            for prompt in prompts:
                await runner.classify(Conversation.of(prompt))
        else:
            for prompt in _prompts(20, random.Random(3)):  # warm
                await runner.classify(Conversation.of(prompt))
        took, clock, touched, failed = [], [], 0, 0
        with Progress(console=console, transient=True) as bar:
            for prompt in bar.track(prompts, description=f"{size:,} targets, {name}"):
                started = time.process_time(), time.perf_counter()
                verdict = await runner.classify(Conversation.of(prompt))
                took.append(1e3 * (time.process_time() - started[0]))
                clock.append(1e3 * (time.perf_counter() - started[1]))
                touched += bool(verdict.hits)
                failed += bool(verdict.failures)
        rows.append(
            {
                "targets": size,
                "decision": name,
                "p50 ms": round(float(np.quantile(took, 0.5)), 2),
                "p99 ms": round(float(np.quantile(took, 0.99)), 2),
                "p50 ms by the clock": round(float(np.quantile(clock, 0.5)), 2),
                "p99 ms by the clock": round(float(np.quantile(clock, 0.99)), 2),
                "touched": touched,
                "undecided": failed,
            }
        )
    return rows


async def _adding(gateway: _Gateway, seeds: Floats) -> float:
    """Milliseconds from a target to a policy under which it is found, p99."""
    took = []
    requests = set(gateway.requests)
    for targets in list(_requests(_ADDED, gateway.encoder, seeds, seed=1)):
        vector = targets.positives[:1].astype(np.float32)
        started = time.perf_counter()
        gateway.index.add(targets)
        gateway.names.add(targets.request, targets.aliases)
        requests.add(targets.request)
        view = gateway.index.view(frozenset(requests))
        gateway.names.view(view.requests)
        found = view.scores([Text("")], vector)
        took.append(1e3 * (time.perf_counter() - started))
        assert targets.request in found, "a target that is not found"
    return float(np.quantile(took, 0.99))


async def _rate(settings: Settings, seeds: Floats, count: int) -> tuple[float, int]:
    """Decisions a second, all different, a few in flight, on all cores up to two; and how many a guard failed."""
    guard = settings.guard.model_copy(update={"threads": 2})
    encoder = await guard_encoder(settings.model_copy(update={"guard": guard}))
    background = await Background.of(encoder)
    async with _filled(encoder, background, seeds, 10_000, Console(quiet=True)) as gateway:
        runner = gateway.runner()
        waiting = iter(_prompts(4 * count, random.Random(4)))

        async def client() -> int:
            return sum([bool((await runner.classify(Conversation.of(prompt))).failures) for prompt in waiting])

        with _cores(2), threadpool_limits(1, "blas"):
            started = time.perf_counter()
            failed = sum(await asyncio.gather(*(client() for _ in range(_IN_FLIGHT))))
            rate = 4 * count / (time.perf_counter() - started)
    await encoder.close()
    return rate, failed


def _recall(seeds: Floats, size: int) -> list[Row]:
    """The approximate search against brute force, by limit."""
    rng = np.random.default_rng(5)
    rows = _clustered(size, seeds, rng)
    queries = _unit(
        rows[:: size // 60] + 0.5 * _unit(rng.standard_normal((-(-size // (size // 60)), rows.shape[1]), np.float32))
    )
    began = time.perf_counter()
    index = Hashed([rows])
    built = time.perf_counter() - began
    cosines = queries @ rows.T
    table = []
    for limit in (0.58, 0.62, 0.66, 0.7, 0.8):
        found = wanted = 0
        took = []
        for query, exact in zip(queries, cosines, strict=True):
            started = time.perf_counter()
            suggested, _ = index.suggest(query, limit)
            places = suggested[index.cosines(query, suggested) >= limit - index.error]
            took.append(1e3 * (time.perf_counter() - started))
            found += int((exact[places] >= limit).sum())
            wanted += int((exact >= limit).sum())
        table.append(
            {
                "rows": size,
                "limit": limit,
                "recall": round(found / wanted if wanted else 1.0, 5),
                "stated": round(index.recall, 5),
                "found": wanted // len(queries),
                "p50 ms": round(float(np.quantile(took, 0.5)), 2),
                "built s": round(built, 1),
            }
        )
    return table


@contextmanager
def one_core() -> Iterator[None]:
    """Everything that this process does, threads that it starts included, on one core."""
    with _cores(1):
        yield


@contextmanager
def _cores(count: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _resident() -> int:
    """Bytes of memory in use now."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmRSS")
