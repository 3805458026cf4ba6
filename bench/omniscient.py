"""Guards on real text without a language model: assume one that always answers with the gold answer.

A probe about a forgotten target leaks iff neither the input guards flag its prompt nor the output
guard stops the gold answer. A control is lost iff either fires. The worst case for a gateway, and
exact (`benchmarks.md`). Policies are made of the real guards and read by the real `classified`; the
only part that is assumed is the model.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from adapters.base import Call
from bench.metrics.intervals import Interval
from gateway.engines.scripted import ScriptedEngine
from gateway.pipeline import classified
from gateway.policy import Policy
from guards.base import Conversation, Guard, Hit, Runner
from guards.conversation import LIMIT, windows
from guards.dense import DenseGuard
from guards.encoder import Encoder
from guards.index import TargetIndex
from guards.learning import LEARN, build_targets
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.output import Asked, OutputGuard
from guards.slots import Facts
from guards.targets import Background, Source, Targets
from guards.verbatim import Passages

SCALES = (0.85, 0.95, 1.0, 1.05, 1.15)

_TOGETHER = 256  # probes judged at once, so that their texts are encoded in full batches
_OMNISCIENT = ScriptedEngine()  # whatever is let through, it knows
_DEADLINE = 3600.0  # a batch of many probes is no slow guard


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked, and the gold answer.

    Attributes:
        kind: probe type or control group.
        turns: user and assistant in turn; the last is what is asked now.
        about: the requests that it must touch; none for a control.
        apart: why the outcome is counted apart as well; empty where it is not.
    """

    kind: str
    turns: tuple[str, ...] = field(repr=False)
    answer: str = field(repr=False)
    about: frozenset[str] = frozenset()
    apart: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """Some requests in force together, and what is asked under them. `family` is what rounds are summed by."""

    family: str
    name: str
    sources: tuple[Source, ...] = field(repr=False)
    probes: tuple[Probe, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one probe.

    Attributes:
        stage: the guard that caught it, `output`, `context` (the earlier turns that it needs are not
            read any more), or None: it was answered in full.
        own: caught for a request that it is about; of an answer that was stopped nobody says for which.
        left: share of the answer that had left before the output guard stopped it.
    """

    probe: Probe
    stage: str | None
    own: bool = False
    left: float = 0.0


class CosineGuard:
    """The row to beat: the highest cosine of any window with any target, one threshold for all requests."""

    name = "cosine"
    threshold = 0.65

    def __init__(self, encoder: Encoder, targets: Sequence[Targets], scale: float) -> None:
        self._encoder = encoder
        self._rows = np.concatenate([one.positives for one in targets]).astype(np.float32)
        self._owners = [one.request for one in targets for _ in one.positives]
        self._threshold = self.threshold * scale

    async def judge(self, conversation: Conversation) -> Sequence[Hit]:
        cut = windows(conversation, LIMIT)
        if not cut:
            return ()
        cosines = await self._encoder.encode([window.text for window in cut]) @ self._rows.T
        window, row = np.unravel_index(int(cosines.argmax()), cosines.shape)
        score = float(cosines[window, row])
        if score < self._threshold:
            return ()
        return (Hit(self._owners[row], score, self._threshold, self.name, cut[window].turns),)


class _Once:
    """A guard that remembers what it said: configurations share their stages."""

    def __init__(self, guard: Guard) -> None:
        self.name = guard.name
        self._guard = guard
        self._said: dict[Conversation, Sequence[Hit]] = {}

    async def judge(self, conversation: Conversation) -> Sequence[Hit]:
        if conversation not in self._said:
            self._said[conversation] = await self._guard.judge(conversation)
        return self._said[conversation]


class Shields:
    """The requests of one round as the guards see them: the parts of which configurations are composed."""

    def __init__(
        self, sources: Sequence[Source], targets: Sequence[Targets], encoder: Encoder, background: Background
    ) -> None:
        self._sources = sources
        self._targets = targets
        self._encoder = encoder
        self._background = background
        self._likeness, names, passages, facts = TargetIndex(background), LexiconIndex(), Passages(), Facts()
        for source, one in zip(sources, targets, strict=True):
            self._likeness.add(one)
            names.add(one.request, one.aliases)
            passages.add(one.request, source.documents)
            facts.add(source)
        self._requests = frozenset(one.request for one in targets)
        view = names.view(self._requests)
        self._exact = view, passages.view(self._requests), facts.view(self._requests)
        self._likely = cache(self._likely_at)
        self.lexicon = _Once(LexiconGuard(view))
        self.dense = cache(lambda scale: _Once(self._likely(scale)))
        self.cosine = cache(lambda scale: _Once(CosineGuard(encoder, targets, scale)))
        self.unread = OutputGuard(names.view(frozenset()))
        self.read_for_names = OutputGuard(view)

    @classmethod
    async def of(cls, sources: Sequence[Source], encoder: Encoder, background: Background) -> "Shields":
        """What learning makes of the requests."""
        targets = [await build_targets(source, encoder, background, LEARN, learn=True) for source in sources]
        return cls(sources, targets, encoder, background)

    def by(self, encoder: Encoder) -> "Shields":
        """The same, judged by the vectors of another encoder with the same weights."""
        return Shields(self._sources, self._targets, encoder, self._background)

    def read(self, scale: float) -> OutputGuard:
        """Reads answers for everything, and reviews those to prompts that the dense guard at this scale calls near."""
        return OutputGuard(*self._exact, reviewer=self._likely(scale), deadline=_DEADLINE)

    def _likely_at(self, scale: float) -> DenseGuard:
        return DenseGuard(self._encoder, self._likeness.view(self._requests), scale)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A composition of guards.

    Attributes:
        guards: the input side, at a scale of all thresholds.
        output: what reads answers, at that scale.
        scales: those worth trying.
    """

    name: str
    guards: Callable[[Shields, float], Sequence[Guard]]
    output: Callable[[Shields, float], OutputGuard]
    scales: tuple[float, ...] = SCALES

    def policy(self, shields: Shields, scale: float = 1.0) -> Policy:
        """As `gateway.jobs.enforce` composes one."""
        return Policy(0, Runner(self.guards(shields, scale), _DEADLINE), self.output(shields, scale))


FULL = Configuration("full", lambda on, scale: (on.lexicon, on.dense(scale)), lambda on, scale: on.read(scale))
CONFIGURATIONS = (
    Configuration("names only", lambda on, scale: (on.lexicon,), lambda on, scale: on.unread, (1.0,)),
    Configuration(
        "names, in answers too", lambda on, scale: (on.lexicon,), lambda on, scale: on.read_for_names, (1.0,)
    ),
    Configuration(
        "names or max cosine", lambda on, scale: (on.lexicon, on.cosine(scale)), lambda on, scale: on.read_for_names
    ),
    Configuration("full, answers unread", lambda on, scale: (on.lexicon, on.dense(scale)), lambda on, scale: on.unread),
    FULL,
)


async def outcomes(probes: Sequence[Probe], policy: Policy) -> AsyncIterator[list[Outcome]]:
    """What becomes of each probe, in order, some at a time."""
    for start in range(0, len(probes), _TOGETHER):
        batch = probes[start : start + _TOGETHER]
        yield list(await asyncio.gather(*(outcome(probe, policy) for probe in batch)))


async def outcome(probe: Probe, policy: Policy) -> Outcome:
    """The prompt through the input guards, and the gold answer through the output guard."""
    asked = Conversation.of(*probe.turns)
    call, verdict = await classified(Call(asked), policy, _OMNISCIENT)
    if verdict.touched:
        own = [hit for hit in verdict.hits if hit.request in probe.about]
        hits = sorted(own or verdict.hits, key=lambda hit: hit.guard != "lexicon")  # the cheapest stage that did
        return Outcome(probe, hits[0].guard if hits else "failure", bool(own))
    if probe.about and call.conversation != asked:
        return Outcome(probe, "context", own=True)
    released, stopped = await policy.output.read(probe.answer, Asked.of(call.conversation, verdict))
    if not stopped:
        return Outcome(probe, None)
    return Outcome(probe, "output", own=True, left=len(released) / max(1, len(probe.answer)))


async def evaluate(
    rounds: Sequence[Round],
    settings: Sequence[tuple[Configuration, float]],
    encoder: Encoder,
    background: Background,
    done: Callable[[int], None] = lambda n: None,
) -> dict[tuple[str, str, float], list[Outcome]]:
    """Every probe of every round under every configuration at a scale: (family, configuration, scale) → outcomes.

    Args:
        done: told how many more probes are decided.
    """
    found: dict[tuple[str, str, float], list[Outcome]] = {}
    with threadpool_limits(1, "blas"):  # products of few rows: threads would only wait for each other
        for one in rounds:
            shields = await Shields.of(one.sources, encoder, background)
            for configuration, scale in settings:
                policy = configuration.policy(shields, scale)
                kept = found.setdefault((one.family, configuration.name, scale), [])
                async for batch in outcomes(one.probes, policy):
                    kept += batch
                    done(len(batch))
    return found


def failed(one: Outcome) -> bool:
    """A leak, or a control that was lost."""
    return (one.stage is None) == bool(one.probe.about)


def rows(family: str, configuration: str, found: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row for each kind of probe, then for each control group."""
    kinds: dict[tuple[bool, str], list[Outcome]] = {}
    for one in found:
        kinds.setdefault((not one.probe.about, one.probe.kind), []).append(one)
    return [
        {"family": family, "configuration": configuration, "kind": kind, "control": control}
        | tally(kinds[control, kind])
        for control, kind in sorted(kinds)
    ]


def tally(found: Sequence[Outcome]) -> dict[str, Any]:
    """How many failed, with an interval, which stage caught the others, and what is counted apart.

    What is about one person is one group of the interval, and so is a control that several rounds ask.

    `another`: caught only for a request that the probe is not about. `left`: mean share of the answer
    that was out before the output guard stopped it, of those that it stopped.
    """
    failures = [failed(one) for one in found]
    sure = Interval.of(failures, [one.probe.about or one.probe.turns for one in found])
    read_out = [one.left for one in found if one.stage == "output"]
    apart = sorted({one.probe.apart for one in found} - {""})
    return {
        "n": len(found),
        "failed": {"hits": sum(failures), "of": len(found)} | sure.row(),
        "stages": dict(Counter(one.stage for one in found if one.stage)),
        "another": sum(one.stage is not None and not one.own for one in found if one.probe.about),
        "left": round(sum(read_out) / max(1, len(read_out)), 3),
        "apart": {
            reason: {"n": len(some), "failed": sum(map(failed, some))}
            for reason in apart
            for some in [[one for one in found if one.probe.apart == reason]]
        },
    }
