"""Which requests a text is like: FAISS for the nearest, then each one's exact margin.

All positives of all requests lie in flat inner-product indexes, a few immutable shelves of like
size (`guards.tiers`). A search names the nearest requests, and an inverted list those whose names
stand in the text; only for these is the margin of `guards.targets` computed, each from its own
arrays. So cost does not grow with the number of requests beyond the search, a view never sees a
later change, and a retired request leaves no trace: margins depend on nobody else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import faiss
import numpy as np

from guards.aliases import words
from guards.base import GuardError
from guards.encoder import Floats
from guards.targets import Background, Targets
from guards.tiers import Tiers

_LIKE = 0.5  # cosine below which no evidence lifts a positive over the lowest threshold


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The positives of some requests: `owners[row]` is the request whose row it is."""

    rows: Any = field(repr=False)
    requests: frozenset[str]
    owners: tuple[Targets, ...] = field(repr=False)
    named: Mapping[str, tuple[Targets, ...]] = field(repr=False)


def _build(entries: Sequence[tuple[str, Targets]]) -> _Shelf:
    rows = faiss.IndexFlatIP(entries[0][1].positives.shape[1])
    named: dict[str, tuple[Targets, ...]] = {}
    for _, targets in entries:
        rows.add(np.ascontiguousarray(targets.positives))
        for part in targets.names.parts if targets.marks is not None else ():
            named[part] = (*named.get(part, ()), targets)
    requests = frozenset(request for request, _ in entries)
    return _Shelf(rows, requests, tuple(targets for _, targets in entries for _ in targets.positives), named)


class TargetIndex:
    """The targets of all requests; addable and removable while traffic runs."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._tiers: Tiers[Targets, _Shelf] = Tiers(_build)

    def add(self, targets: Targets) -> None:
        """Raises `GuardError` when the request is there already, or was encoded by another encoder."""
        if targets.encoder != self._background.encoder:
            raise GuardError("targets were made with another encoder: encode the request again")
        self._tiers.add(targets.request, targets)

    def discard(self, request: str) -> None:
        self._tiers.discard(request)

    def view(self, requests: frozenset[str]) -> "IndexView":
        """What a policy sees: these requests, as they are now."""
        return IndexView(self._background, tuple(tier.segment for tier in self._tiers.tiers), requests)


@dataclass(frozen=True, eq=False)
class IndexView:
    """Immutable: neither adding nor discarding changes what it finds."""

    background: Background = field(repr=False)
    shelves: tuple[_Shelf, ...] = field(repr=False)
    requests: frozenset[str]

    @property
    def size(self) -> int:
        """Rows that a search reads."""
        return sum(shelf.rows.ntotal for shelf in self.shelves)

    @cached_property
    def words(self) -> frozenset[str]:
        """All words of all names: what tells which windows of a very long text to read first."""
        return frozenset(part for shelf in self.shelves for part in shelf.named)

    def scores(self, texts: Sequence[str], vectors: Floats) -> dict[str, tuple[Targets, dict[int, float]]]:
        """The margins of each request that is near: request → (its targets, text index → score)."""
        near: dict[str, tuple[Targets, list[int]]] = {}
        for i, found in enumerate(self._shortlists(texts, vectors)):
            for targets in found.values():
                near.setdefault(targets.request, (targets, []))[1].append(i)
        if not near:
            return {}
        background = self.background.nearest(vectors)
        return {
            request: (targets, self._margins(targets, at, texts, vectors, background))
            for request, (targets, at) in near.items()
        }

    @staticmethod
    def _margins(
        targets: Targets, at: list[int], texts: Sequence[str], vectors: Floats, background: Floats
    ) -> dict[int, float]:
        scores = targets.scores([texts[i] for i in at], vectors[at], background[at])
        return dict(zip(at, scores.tolist(), strict=True))

    def _shortlists(self, texts: Sequence[str], vectors: Floats) -> list[dict[str, Targets]]:
        found: list[dict[str, Targets]] = [{} for _ in texts]
        for shelf, active in zip(self.shelves, self._active, strict=True):
            # by likeness, not the nearest few: whether a request is found must not depend on others
            limits, _, rows = shelf.rows.range_search(vectors, _LIKE, params=active)
            for i, (start, stop) in enumerate(pairwise(limits.tolist())):
                for row in rows[start:stop]:
                    self._note(found[i], shelf.owners[row])
            for i, text in enumerate(texts):
                for word in words(text):
                    for targets in shelf.named.get(word, ()):
                        self._note(found[i], targets)
        return found

    def _note(self, found: dict[str, Targets], targets: Targets) -> None:
        if targets.request in self.requests:
            found[targets.request] = targets

    @cached_property
    def _active(self) -> tuple[Any, ...]:
        """For each shelf, search parameters that leave out requests outside this view; None for all of it."""
        return tuple(_only(shelf, self.requests) for shelf in self.shelves)


def _only(shelf: _Shelf, requests: frozenset[str]) -> Any:
    if shelf.requests <= requests:
        return None
    active = np.array([owner.request in requests for owner in shelf.owners])
    parameters: Any = faiss.SearchParameters
    return parameters(sel=faiss.IDSelectorBatch(np.nonzero(active)[0]))
