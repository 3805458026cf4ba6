"""Which requests a text is like: the nearest rows, then each near request's exact margin.

The positives of all requests lie in a few immutable shelves (`guards.tiers`), each with an index over
its rows (`guards.nearest`) and an inverted list of keys, the words that lead to a request. With

    s = max [cos(w, p) + e] − λ · unlike  and  unlike ≥ b, the text's likeness to ordinary prompts,

no request reaches a threshold τ by likeness whose best cosine stays below τ + λ·b − e; and e is known for
every row but for whether the text names the subject, which it does only where a key stands in it. So each
row has a limit of its own for each text, and what may be touched or near is never lost.

What a request knows (`guards.classifier`, `guards.relations`) may speak below that bound. So those are
considered besides that a key leads to, and those whose best cosine reaches `_LIKE`; and weighed, if the
most that they can say (`guards.ceilings`) is enough. They have a shelf of their own, since only they are
searched so far. A key that more than `_RARE` requests share leads to nobody alone: of 10,000 people called
Maria, those are weighed that the bound allows with the name. All steps over keys are linear in sorted
arrays of small integers.

Whoever may be touched or near is weighed, the likeliest first. Of more than `_CROWD`, when none of those
weighed is touched, none is cleared either: the guard fails, which means touched.

Margins depend on nobody else, each comes from a request's own arrays, and a retired one leaves no trace.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from guards.aliases import words
from guards.base import GuardError
from guards.ceilings import Within, ceilings
from guards.encoder import Floats
from guards.evidence import NAMED, UNNAMED, VAGUE
from guards.nearest import Nearest, Rows, build
from guards.reading import Text
from guards.targets import LAMBDA, NEAR, Background, Targets
from guards.tiers import Tier, Tiers

_AT_ONCE = 2_048  # rows that are built on the event loop: milliseconds
_RARE = 32  # requests that share a key which leads to each of them
_CROWD = 512  # requests weighed for one text, of those that may be touched or near
_ROWS = 512  # rows by which the likeliest of very many requests are told

_NEVER = 4.0  # more than any two cosines differ by
_LIKE = 0.45  # cosine below which no classifier is considered, unless a key leads to it

_Owners = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Some requests, all with a classifier, or relations of facts, or all without.

    `places` says where a request stands, `owners[row]` where a row's request does; `led[key]` are places in
    ascending order. `lifts` (2, rows): what evidence adds at most to a row's cosine, without and with one of
    the request's keys; `highest` (2, requests): of a request's rows.
    """

    learned: bool
    nearest: Nearest = field(repr=False)
    requests: tuple[Targets, ...] = field(repr=False)
    places: Mapping[str, int] = field(repr=False)
    owners: _Owners = field(repr=False)
    thresholds: Floats = field(repr=False)
    lifts: Floats = field(repr=False)
    highest: Floats = field(repr=False)
    led: Mapping[str, _Owners] = field(repr=False)


_Shelves = tuple[_Shelf, ...]


def _build(entries: Sequence[tuple[str, Targets]]) -> _Shelves:
    learned = [targets for _, targets in entries if _learned(targets)]
    plain = [targets for _, targets in entries if not _learned(targets)]
    return tuple(_shelf(some) for some in (learned, plain) if some)


def _learned(targets: Targets) -> bool:
    """Whether more than likeness may touch it."""
    return targets.classifier is not None or targets.relations is not None


def _shelf(requests: Sequence[Targets]) -> _Shelf:
    led: dict[str, list[int]] = {}
    for place, targets in enumerate(requests):
        for key in targets.keys:
            led.setdefault(key, []).append(place)
    lifts = [_lifts(targets) for targets in requests]
    return _Shelf(
        learned=_learned(requests[0]),
        nearest=build([targets.positives for targets in requests]),
        requests=tuple(requests),
        places={targets.request: place for place, targets in enumerate(requests)},
        owners=np.repeat(np.arange(len(requests), dtype=np.int32), [len(targets.positives) for targets in requests]),
        thresholds=np.array([targets.threshold for targets in requests], np.float32),
        lifts=np.concatenate(lifts, axis=1),
        highest=np.stack([one.max(axis=1) for one in lifts], axis=1),
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
        self._tiers: Tiers[Targets, _Shelves] = Tiers(_build, lambda targets: len(targets.positives), _AT_ONCE)

    def add(self, targets: Targets) -> None:
        """Searchable at once. Raises `GuardError` when it is there already, or was encoded by another encoder."""
        self._tiers.add(targets.request, self._held(targets))

    async def extend(self, many: Sequence[Targets]) -> None:
        """Many at a time, built on a thread; searchable on return. Raises as `add` does."""
        await self._tiers.extend([(targets.request, self._held(targets)) for targets in many])

    async def settle(self) -> bool:
        """Build what adding and discarding left to be merged, on a thread. True where views taken now differ."""
        return await self._tiers.settle()

    def discard(self, request: str) -> None:
        self._tiers.discard(request)

    def view(self, requests: frozenset[str]) -> "IndexView":
        """What a policy sees: these requests, as they are now."""
        return IndexView(self._background, self._tiers.tiers, requests)

    def _held(self, targets: Targets) -> Targets:
        if targets.encoder != self._background.encoder:
            raise GuardError("targets were made with another encoder: encode the request again")
        return targets


@dataclass(frozen=True, eq=False)
class IndexView:
    """Immutable: neither adding nor discarding changes what it finds."""

    background: Background = field(repr=False)
    tiers: tuple[Tier[Targets, _Shelves], ...] = field(repr=False)
    requests: frozenset[str] = field(repr=False)

    @cached_property
    def shelves(self) -> _Shelves:
        return tuple(chain.from_iterable(tier.segment for tier in self.tiers))

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
        """The scores of each request that is near: request → (its targets, text index → score).

        Those that come within `NEAR` of their threshold (`Targets.reached_at`) are there; others may be.

        Raises:
            GuardError: more requests may be near than can be weighed, and none of those weighed is touched.
        """
        background = self.background.nearest(vectors)
        found: dict[str, tuple[Targets, list[int]]] = {}
        crowded: list[int] = []
        for i, text in enumerate(texts):
            near = self._near(text, vectors[i], background[i], scale)
            if len(near) > _CROWD:
                crowded.append(i)
            for targets in near[:_CROWD]:
                found.setdefault(targets.request, (targets, []))[1].append(i)
        scored = {
            request: (targets, self._scored(targets, at, texts, vectors, background))
            for request, (targets, at) in found.items()
        }
        if crowded:
            touched = {
                i for targets, at in scored.values() for i, score in at.items() if score >= targets.reached_at(scale)
            }
            if not touched.issuperset(crowded):
                raise GuardError("more requests may be touched than can be weighed")
        return scored

    def scores_of(
        self, requests: Collection[str], texts: Sequence[Text], vectors: Floats
    ) -> dict[str, tuple[Targets, dict[int, float]]]:
        """The scores of these requests, however far they are; those that the view does not see are left out."""
        background = self.background.nearest(vectors)
        every = range(len(texts))
        return {
            request: (targets, self._scored(targets, every, texts, vectors, background))
            for request in requests
            for shelf, active in zip(self.shelves, self._active, strict=True)
            if (place := shelf.places.get(request)) is not None and active[place]
            for targets in (shelf.requests[place],)
        }

    @staticmethod
    def _scored(
        targets: Targets, at: Sequence[int], texts: Sequence[Text], vectors: Floats, background: Floats
    ) -> dict[int, float]:
        scores = targets.scores([texts[i] for i in at], vectors[at], background[at])
        return dict(zip(at, scores.tolist(), strict=True))

    def _near(self, text: Text, vector: Floats, background: Floats, scale: float) -> list[Targets]:
        """Those that may be touched or near, the likeliest first."""
        keys = set(words(text))
        led = [
            {key: some[active[some]] for key in keys if (some := shelf.led.get(key)) is not None}
            for shelf, active in zip(self.shelves, self._active, strict=True)
        ]
        shared = {key for key in keys if sum(len(places.get(key, ())) for places in led) > _RARE}
        lent = LAMBDA * float(background.mean()) - NEAR
        allowed: list[tuple[float, Targets]] = []
        heard: list[Within] = []
        for shelf, active, places in zip(self.shelves, self._active, led, strict=True):
            search = _Search.of(shelf, active, places, shared, shelf.thresholds * np.float32(scale) + lent)
            search.run(vector, allowed, heard)
        ranked = {one.request: (rank, 0.0, one) for rank, one in allowed}
        for within, most in zip(heard, ceilings(heard, text, vector, background), strict=True):
            rank, _, one = ranked.get(within.targets.request, (-1.0, 0.0, within.targets))
            ranked[one.request] = (max(rank, most - one.near_from(scale)), within.high, one)
        near = sorted(
            (one for one in ranked.values() if one[0] >= 0.0), key=lambda one: (-one[0], -one[1], one[2].request)
        )
        return [one for _, _, one in near]

    @cached_property
    def _active(self) -> tuple[NDArray[np.bool_], ...]:
        """For each shelf, which of its requests this view sees."""
        return tuple(_seen(shelf, self.requests, tier.gone) for tier in self.tiers for shelf in tier.segment)


def _seen(shelf: _Shelf, requests: frozenset[str], gone: frozenset[str]) -> NDArray[np.bool_]:
    if not gone and shelf.places.keys() <= requests:  # as nearly always, and much the quicker to tell
        return np.ones(len(shelf.requests), np.bool_)
    return np.array([one.request in requests and one.request not in gone for one in shelf.requests])


@dataclass(frozen=True, slots=True)
class _Search:
    """One text among one shelf's requests.

    `bound` (requests,): the cosine without evidence from which a request is near. `keyed` (requests,): 1 where
    one of its keys stands in the text; `direct`: how many that lead to it.
    """

    shelf: _Shelf
    active: NDArray[np.bool_]
    bound: Floats
    keyed: NDArray[np.intp]
    direct: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        shelf: _Shelf,
        active: NDArray[np.bool_],
        led: Mapping[str, _Owners],
        shared: set[str],
        bound: Floats,
    ) -> "_Search":
        keyed, direct = np.zeros((2, len(active)), np.intp)
        for key, places in led.items():
            keyed[places] = 1
            if key not in shared and shelf.learned:
                direct[places] += 1
        return cls(shelf, active, bound.astype(np.float32), keyed, direct)

    def run(self, vector: Floats, allowed: list[tuple[float, Targets]], heard: list[Within]) -> None:
        """Add those that likeness allows, with how far it does, and those whose knowledge may speak."""
        shelf = self.shelf
        least = self.bound - np.where(self.keyed, shelf.highest[1], shelf.highest[0])
        limit = float(least.min())
        if shelf.learned:
            limit = min(limit, _LIKE)
        rows, cosines = shelf.nearest.search(vector, limit, self._limits, _ROWS if shelf.learned else 0)
        owners, error = shelf.owners[rows], shelf.nearest.error
        ranks = cosines + shelf.lifts[self.keyed[owners], rows] + np.float32(error) - self.bound[owners]
        over = (ranks >= 0.0) & self.active[owners]
        reached: dict[int, float] = {}
        for place, rank in zip(owners[over].tolist(), ranks[over].tolist(), strict=True):
            reached[place] = max(rank, reached.get(place, 0.0))
        told = ((rank, shelf.requests[place]) for place, rank in reached.items())
        allowed += [(rank, one) for rank, one in told if one.relations is None]
        if shelf.learned:
            heard += self._heard(owners, cosines)

    def _limits(self, rows: Rows) -> Floats:
        owners = self.shelf.owners.take(rows)
        limits: Floats = self.bound.take(owners) - self.shelf.lifts[0].take(rows)
        keyed = np.flatnonzero(self.keyed.take(owners))  # few, of very many
        limits[keyed] = self.bound[owners[keyed]] - self.shelf.lifts[1].take(rows[keyed])
        return np.where(self.direct[owners], np.minimum(limits, _LIKE), limits) if self.shelf.learned else limits

    def _heard(self, owners: _Owners, cosines: Floats) -> Iterator[Within]:
        """Whom keys lead to; and whoever is like enough."""
        best = np.full(len(self.active), -1.0, np.float32)
        np.maximum.at(best, owners, cosines)
        error = self.shelf.nearest.error
        some = np.flatnonzero((self.direct > 0) | (self.active & (best >= _LIKE - error)))
        for place, cosine in zip(some.tolist(), best[some].tolist(), strict=True):
            low, high = (cosine - error, cosine + error) if cosine >= _LIKE - error else (-1.0, _LIKE)
            yield Within(self.shelf.requests[place], low, high)
