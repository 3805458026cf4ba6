"""Which requests a text is like: the nearest rows, then each near request's exact margin.

The positives of all requests lie in a few immutable shelves (`guards.tiers`), each with an index over
its rows (`guards.nearest`) and an inverted list of keys, the words that lead to a request. With

    s = max [cos(w, p) + e] − λ · unlike  and  unlike ≥ b, the text's likeness to ordinary prompts,

no request reaches a threshold τ by likeness whose best cosine stays below τ + λ·b − e; and e is known for
every row but for whether the text names the subject, which it does only where a key stands in it. So each
text is searched with that limit, and each request found is held against its own bound: what may be touched
is never lost. Of more than `_CROWD` that may be, the likeliest are weighed; when none of them is touched,
none is cleared either: the guard fails, which means touched.

What a request knows (`guards.classifier`) may speak below that bound. So those are weighed besides that
a key leads to, whatever their likeness, and the `_LIKELY` likeliest. A key that
more than `_RARE` requests share leads to nobody alone: of 10,000 people called Maria, those are weighed
that the bound allows with the name. All steps over keys are linear in sorted arrays of small integers.

Margins depend on nobody else, each comes from a request's own arrays, and a retired one leaves no trace.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from guards.aliases import words
from guards.base import GuardError
from guards.classifier import GREY
from guards.encoder import Floats
from guards.evidence import NAMED, UNNAMED, VAGUE
from guards.nearest import Nearest, build
from guards.reading import Text
from guards.targets import LAMBDA, LOGIT, Background, Targets
from guards.tiers import Merge, Tier, Tiers

NEAR = GREY * LOGIT  # below its threshold, and a request's answer may still have to be read

_AT_ONCE = 2_048  # rows that are built on the event loop: milliseconds
_RARE = 32  # requests that share a key which leads to each of them
_CROWD = 512  # requests weighed for one text, of those that may be touched by likeness
_MOST = 24  # at most, with those that may be near and those that keys lead to
_LIKELY = 8  # and of the rest

_LED = -0.5
_NEVER = 4.0  # more than any two cosines differ by
_LIKE = 0.45  # cosine below which no classifier is asked, unless a key leads to it

_Owners = NDArray[np.int32]
_NOBODY: _Owners = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Some requests: `owners[row]` is the place of a row's request, `led[key]` are places in ascending order.

    `lifts` (2, rows): what evidence adds at most to a row's cosine, without and with one of the request's keys.
    """

    nearest: Nearest = field(repr=False)
    requests: tuple[Targets, ...] = field(repr=False)
    ids: frozenset[str] = field(repr=False)
    owners: _Owners = field(repr=False)
    thresholds: Floats = field(repr=False)
    learned: NDArray[np.bool_] = field(repr=False)
    lifts: Floats = field(repr=False)
    led: Mapping[str, _Owners] = field(repr=False)


def _keys(targets: Targets) -> frozenset[str]:
    """Folded words that lead to a request."""
    return targets.keys


def _build(entries: Sequence[tuple[str, Targets]]) -> _Shelf:
    requests = tuple(targets for _, targets in entries)
    led: dict[str, list[int]] = {}
    for place, targets in enumerate(requests):
        for key in targets.keys:
            led.setdefault(key, []).append(place)
    return _Shelf(
        nearest=build([targets.positives for targets in requests]),
        requests=requests,
        ids=frozenset(request for request, _ in entries),
        owners=np.repeat(np.arange(len(requests), dtype=np.int32), [len(targets.positives) for targets in requests]),
        thresholds=np.array([targets.threshold for targets in requests], np.float32),
        learned=np.array([targets.classifier is not None for targets in requests]),
        lifts=np.concatenate([_lifts(targets) for targets in requests], axis=1),
        led={key: np.array(places, np.int32) for key, places in led.items()},
    )


def _lifts(targets: Targets) -> Floats:
    """(2, p). Passages beside questions are the classifier's alone."""
    if (marks := targets.marks) is None:
        return np.zeros((2, len(targets.positives)), np.float32)
    lifts = np.full((2, len(targets.positives)), -_NEVER, np.float32)
    named, vague = np.array(marks.named, np.float32), VAGUE * np.array(marks.vague, np.float32)
    lifts[:, : len(named)] = UNNAMED * named + vague, NAMED * named + vague
    return lifts


class TargetIndex:
    """The targets of all requests; addable and removable while traffic runs. Belongs to one event loop."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._tiers: Tiers[Targets, _Shelf] = Tiers(_build, lambda targets: len(targets.positives), _AT_ONCE)
        self._building = asyncio.Lock()

    def add(self, targets: Targets) -> None:
        """Searchable at once. Raises `GuardError` when it is there already, or was encoded by another encoder."""
        self._tiers.add(targets.request, self._held(targets))

    async def extend(self, many: Sequence[Targets]) -> None:
        """Many at a time, built on a thread; searchable on return. Raises as `add` does."""
        if sum(len(targets.positives) for targets in many) <= _AT_ONCE:
            for targets in many:
                self.add(targets)
            return
        async with self._building:
            await self._build(self._tiers.load((targets.request, self._held(targets)) for targets in many))

    async def settle(self) -> bool:
        """Build what adding and discarding left to be merged, on a thread. True where views taken now differ."""
        settled = False
        async with self._building:
            while (merge := self._tiers.due()) is not None:
                await self._build(merge)
                settled = True
        return settled

    def discard(self, request: str) -> None:
        self._tiers.discard(request)

    def view(self, requests: frozenset[str]) -> "IndexView":
        """What a policy sees: these requests, as they are now."""
        return IndexView(self._background, self._tiers.tiers, requests)

    async def _build(self, merge: Merge[Targets, _Shelf]) -> None:
        try:
            shelf = await asyncio.to_thread(merge.build)
        except BaseException:
            self._tiers.abandon()
            raise
        self._tiers.finish(merge, shelf)

    def _held(self, targets: Targets) -> Targets:
        if targets.encoder != self._background.encoder:
            raise GuardError("targets were made with another encoder: encode the request again")
        return targets


@dataclass(frozen=True, eq=False)
class IndexView:
    """Immutable: neither adding nor discarding changes what it finds."""

    background: Background = field(repr=False)
    tiers: tuple[Tier[Targets, _Shelf], ...] = field(repr=False)
    requests: frozenset[str] = field(repr=False)

    @property
    def shelves(self) -> tuple[_Shelf, ...]:
        return tuple(tier.segment for tier in self.tiers)

    @property
    def size(self) -> int:
        """Rows that a search reads, or as many as cost the same."""
        return sum(shelf.nearest.cost for shelf in self.shelves)

    @property
    def recall(self) -> float:
        """Share of the rows at a limit that a search finds, as measured when they were built."""
        return min((shelf.nearest.recall for shelf in self.shelves), default=1.0)

    @cached_property
    def words(self) -> frozenset[str]:
        """All keys: what tells which windows of a very long text to read first."""
        shelves = zip(self.shelves, self._active, strict=True)
        return frozenset(key for shelf, active in shelves for key, led in shelf.led.items() if active[led].any())

    def scores(
        self, texts: Sequence[Text], vectors: Floats, scale: float = 1.0
    ) -> dict[str, tuple[Targets, dict[int, float]]]:
        """The margins of each request that is near: request → (its targets, text index → score).

        Those that reach `scale` times their threshold by likeness are there, and of those that come within
        `NEAR` of it the likeliest; others may be.

        Raises:
            GuardError: more requests may be touched than can be weighed, and none of those weighed is.
        """
        background = self.background.nearest(vectors)
        found: dict[str, tuple[Targets, list[int]]] = {}
        crowded: list[int] = []
        for i, text in enumerate(texts):
            lent = LAMBDA * float(background[i].mean())
            near = sorted(self._near(text, vectors[i], lent, scale), key=lambda one: (-one[0], one[1].request))
            first = [targets for rank, targets in near if rank >= _LED]
            reaching = sum(rank >= NEAR for rank, _ in near)
            if reaching > _CROWD:
                crowded.append(i)
            most = max(_MOST, min(reaching, _CROWD))
            for targets in (*first[:most], *(targets for _, targets in near[len(first) :][:_LIKELY])):
                found.setdefault(targets.request, (targets, []))[1].append(i)
        scored = {
            request: (targets, self._margins(targets, at, texts, vectors, background))
            for request, (targets, at) in found.items()
        }
        touched = {
            i for targets, at in scored.values() for i, score in at.items() if score >= targets.threshold * scale
        }
        if not touched.issuperset(crowded):
            raise GuardError("more requests may be touched than can be weighed")
        return scored

    @staticmethod
    def _margins(
        targets: Targets, at: list[int], texts: Sequence[Text], vectors: Floats, background: Floats
    ) -> dict[int, float]:
        scores = targets.scores([texts[i] for i in at], vectors[at], background[at])
        return dict(zip(at, scores.tolist(), strict=True))

    def _near(self, text: str, vector: Floats, lent: float, scale: float) -> Iterator[tuple[float, Targets]]:
        """Each request worth weighing, ranked: from 0 what the bound allows, from `_LED` whom keys lead to."""
        keys = set(words(text))
        led = [
            {key: some[active[some]] for key in keys if (some := shelf.led.get(key)) is not None}
            for shelf, active in zip(self.shelves, self._active, strict=True)
        ]
        shared = {key for key in keys if sum(len(places.get(key, ())) for places in led) > _RARE}
        for shelf, active, places in zip(self.shelves, self._active, led, strict=True):
            yield from _near_in(shelf, active, places, shared, vector, lent, scale)

    @cached_property
    def _active(self) -> tuple[NDArray[np.bool_], ...]:
        """For each shelf, which of its requests this view sees."""
        return tuple(_seen(tier.segment, self.requests, tier.gone) for tier in self.tiers)


def _seen(shelf: _Shelf, requests: frozenset[str], gone: frozenset[str]) -> NDArray[np.bool_]:
    if not gone and shelf.ids <= requests:  # as nearly always, and much the quicker to tell
        return np.ones(len(shelf.requests), np.bool_)
    return np.array([one.request in requests and one.request not in gone for one in shelf.requests])


def _near_in(
    shelf: _Shelf,
    active: NDArray[np.bool_],
    led: Mapping[str, _Owners],
    shared: set[str],
    vector: Floats,
    lent: float,
    scale: float,
) -> Iterator[tuple[float, Targets]]:
    bound = shelf.thresholds * np.float32(scale) + np.float32(lent - NEAR)  # a cosine without evidence
    named = _union([places for key, places in led.items() if key in shared])
    direct, counts = np.unique(
        np.concatenate([_NOBODY, *(places for key, places in led.items() if key not in shared)]), return_counts=True
    )
    reach = float(bound.min() - shelf.lifts[1 if len(named) else 0].max())
    near = min(reach, _LIKE) if shelf.learned.any() else reach
    reach += NEAR
    # whoever may be touched is searched for at any cost, whoever may be near where that costs little
    rows, cosines = shelf.nearest.search(vector, min(reach, max(near, shelf.nearest.lowest)))
    places, which = np.unique(shelf.owners[rows], return_inverse=True)
    keyed = _among(places, named) | _among(places, direct)
    over = np.full((2, len(places)), -_NEVER, np.float32)
    np.maximum.at(over[0], which, cosines + shelf.lifts[keyed[which].astype(np.intp), rows])
    np.maximum.at(over[1], which, cosines)
    over += np.float32(shelf.nearest.error) - bound[places]
    allowed = (over[0] >= 0.0) & active[places]
    for place, rank in zip(places[allowed].tolist(), over[0, allowed].tolist(), strict=True):
        yield rank, shelf.requests[place]
    other = ~_among(direct, places[allowed])
    for place, count in zip(direct[other].tolist(), counts[other].tolist(), strict=True):
        yield _LED / (count + 1), shelf.requests[place]
    like = np.flatnonzero(~allowed & active[places] & shelf.learned[places] & ~_among(places, direct))
    for one in like[np.argsort(-over[1, like], kind="stable")[:_LIKELY]]:
        yield float(over[1, one]) - _NEVER, shelf.requests[places[one]]


def _union(many: Sequence[_Owners]) -> _Owners:
    return np.unique(np.concatenate(many)) if many else _NOBODY


def _among(some: _Owners, ascending: _Owners) -> NDArray[np.bool_]:
    """Which of `some` occur in an ascending array; costs len(some) · log."""
    if not len(ascending):
        return np.zeros(len(some), np.bool_)
    found: NDArray[np.bool_] = ascending[np.searchsorted(ascending, some).clip(max=len(ascending) - 1)] == some
    return found
