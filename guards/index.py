"""Which requests a text is like: the nearest rows, then each near request's exact margin.

The positives of all requests lie in a few immutable shelves (`guards.tiers`), each with an index over
its rows (`guards.nearest`) and an inverted list of keys, the words that lead to a request. With

    s = max [cos(w, p) + e] − λ · unlike  and  unlike ≥ b, the text's likeness to ordinary prompts,

no request reaches a threshold τ by likeness whose best cosine stays below τ + λ·b − e; and e is known for
every row but for whether the text names the subject, which it does only where a key stands in it. So each
row has a limit of its own for each text, and what may be touched or near is never lost. A key lowers the
limit by more than anything else; so rows of requests that a key leads to are looked at one by one, and the
others searched at the limit that holds without.

What a request knows (`guards.classifier`, `guards.relations`) may speak below that bound. So those are
considered besides that a key leads to, and those whose best cosine may reach `LIKE`; and weighed, if the
most that they can say (`guards.ceilings`) is enough. They have a shelf of their own, since only they are
searched so far. A key that more than `_RARE` requests share leads to nobody alone: of 10,000 people called
Maria, those are weighed that the bound allows with the name. All steps over keys are linear in sorted
arrays of small integers.

Bounds come from distances first, from cosines for those that are left, and from the request's own rows
last (`guards.weighing`). Whoever may be touched or near is weighed, the likeliest first. Of more than
`_CROWD` (`guards.search`), when none of those weighed is touched, none is cleared either: the guard fails,
which means touched.

Margins depend on nobody else, each comes from a request's own arrays, and a retired one leaves no trace.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from guards.aliases import words
from guards.base import GuardError
from guards.encoder import Floats
from guards.reading import Text
from guards.search import Asked, Search
from guards.shelf import Shelf, Shelves, shelved
from guards.targets import Background, Targets
from guards.tiers import Tier, Tiers

_AT_ONCE = 2_048  # rows that are built on the event loop: milliseconds
_RARE = 32  # requests that share a key which leads to each of them


class TargetIndex:
    """The targets of all requests; addable and removable while traffic runs. Belongs to one event loop."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._tiers: Tiers[Targets, Shelves] = Tiers(
            shelved, lambda targets: len(targets.positives), _AT_ONCE, light=_AT_ONCE
        )

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
    tiers: tuple[Tier[Targets, Shelves], ...] = field(repr=False)
    requests: frozenset[str] = field(repr=False)

    @cached_property
    def shelves(self) -> Shelves:
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

        Those that come within `NEAR` of their threshold (`Targets.reached_at`) are there.

        Raises:
            GuardError: more requests may be near than can be weighed, and none of those weighed is touched.
        """
        background = self.background.nearest(vectors)
        found: dict[str, tuple[Targets, dict[int, float]]] = {}
        for i, text in enumerate(texts):
            for targets, score in self._weighed(text, vectors[i], background[i], scale):
                _, scores = found.setdefault(targets.request, (targets, {}))
                scores[i] = max(score, scores.get(i, score))
        return found

    def scores_of(
        self, requests: Collection[str], texts: Sequence[Text], vectors: Floats
    ) -> dict[str, tuple[Targets, dict[int, float]]]:
        """The scores of these requests, however far they are; those that the view does not see are left out."""
        background = self.background.nearest(vectors)
        return {
            request: (targets, dict(enumerate(targets.scores(texts, vectors, background).tolist())))
            for request in requests
            for shelf, active in zip(self.shelves, self._active, strict=True)
            if (place := shelf.places.get(request)) is not None and active[place]
            for targets in (shelf.requests[place],)
        }

    def _weighed(self, text: Text, vector: Floats, background: Floats, scale: float) -> list[tuple[Targets, float]]:
        """Those that may be touched or near, each as often as there are measures by which it may."""
        keys = set(words(text))
        led = [
            {key: some[active[some]] for key in keys if (some := shelf.led.get(key)) is not None}
            for shelf, active in zip(self.shelves, self._active, strict=True)
        ]
        shared = {key for key in keys if sum(len(places.get(key, ())) for places in led) > _RARE}
        asked = Asked.of(text, vector, background, scale)
        found: list[tuple[Targets, float]] = []
        crowded = False
        for shelf, active, places in zip(self.shelves, self._active, led, strict=True):
            scored, more = Search.of(shelf, active, places, shared, asked).run()
            found += scored
            crowded = crowded or more
        if crowded and not any(score >= targets.reached_at(scale) for targets, score in found):
            raise GuardError("more requests may be touched than can be weighed")
        return found

    @cached_property
    def _active(self) -> tuple[NDArray[np.bool_], ...]:
        """For each shelf, which of its requests this view sees."""
        return tuple(_seen(shelf, self.requests, tier.gone) for tier in self.tiers for shelf in tier.segment)


def _seen(shelf: Shelf, requests: frozenset[str], gone: frozenset[str]) -> NDArray[np.bool_]:
    if not gone and shelf.places.keys() <= requests:  # as nearly always, and much the quicker to tell
        return np.ones(len(shelf.requests), np.bool_)
    return np.array([one.request in requests and one.request not in gone for one in shelf.requests])
