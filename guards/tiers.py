"""Searchable segments that grow like a log-structured merge tree.

An automaton or a vector index is built once and never changed. A newcomer gets a small segment of
its own at once, merged with other small ones on the spot; a merge of more than `at_once` is left to
whoever asks for what is `due`, builds it on a thread and swaps it in, while the old segments serve.
Each tier outweighs all newer ones together, so there are about log2(n), adding costs O(own size ·
log n), and a view that holds the tuple of tiers sees no later change. A search pays for each segment
whatever it holds; so those that are `light` together become one when merges are done, by up to `light` more
work for each newcomer, off whoever adds it.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from guards.base import GuardError

Entry = TypeVar("Entry")
Segment = TypeVar("Segment")

_STALE = 0.25  # share of a segment that may be gone before it is built again, where it shows to nobody


@dataclass(frozen=True, slots=True)
class Tier(Generic[Entry, Segment]):
    """Some requests' entries and the segment that was built of them.

    `gone` are the requests that were discarded since: the segment holds them still, and nobody may see them.
    """

    entries: tuple[tuple[str, Entry], ...] = field(repr=False)
    segment: Segment = field(repr=False)
    weight: int  # of the segment, with what is gone
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Merge(Generic[Entry, Segment]):
    """A segment to be built, anywhere and at any time, in place of those that hold its entries now."""

    entries: tuple[tuple[str, Entry], ...] = field(repr=False)
    build: Callable[[], Segment] = field(repr=False)


class Tiers(Generic[Entry, Segment]):
    """Belongs to one event loop, as all that is not `Merge.build` does.

    Args:
        build: makes a segment of (request, entry) pairs.
        weigh: what an entry adds to the cost of building.
        at_once: the heaviest segment that `add` and `discard` build themselves.
        stale: share of a segment that may be gone before a merge is due.
        light: segments that weigh no more together are due to become one.
    """

    def __init__(
        self,
        build: Callable[[Sequence[tuple[str, Entry]]], Segment],
        weigh: Callable[[Entry], int] = lambda _: 1,
        at_once: float = math.inf,
        stale: float = _STALE,
        light: float = 0.0,
    ) -> None:
        self._build = build
        self._weigh = weigh
        self._at_once = at_once
        self._stale = stale
        self._light = light
        self._tiers: tuple[Tier[Entry, Segment], ...] = ()
        self._requests: set[str] = set()
        self._merging: set[str] | None = None  # the requests of the merge under way that are still wanted
        self._merged = 0  # the tiers that it replaces: the first so many from `_from` on
        self._from = 0
        self._building = asyncio.Lock()

    @property
    def tiers(self) -> tuple[Tier[Entry, Segment], ...]:
        """The segments as they are now; this tuple never changes."""
        return self._tiers

    def add(self, request: str, entry: Entry) -> None:
        """Make one request searchable. Raises `GuardError` when it already is."""
        self._reserve((request,))
        free = self._from + self._merged  # what a merge replaces is left alone
        weights = [*(tier.weight for tier in self._tiers[free:]), self._weigh(entry)]
        first = _first_outweighed(weights, self._at_once)
        merged = self._tiers[len(self._tiers) if first is None else free + first :]
        entries = (*(pair for tier in merged for pair in tier.entries), (request, entry))
        self._tiers = (*self._tiers[: len(self._tiers) - len(merged)], self._tier(entries))

    def discard(self, request: str) -> None:
        """Leave no trace of a request; unknown ones are ignored."""
        if request in self._requests:
            self._tiers = tuple(self._without(request))
            self._requests.remove(request)
            if self._merging is not None:
                self._merging.discard(request)

    async def extend(self, entries: Sequence[tuple[str, Entry]]) -> None:
        """Many at a time, built on a thread where they weigh much; searchable on return. Raises as `add` does."""
        if sum(self._weigh(entry) for _, entry in entries) <= self._at_once:
            for request, entry in entries:
                self.add(request, entry)
            return
        async with self._building:
            await self._make(self.load(entries))

    async def settle(self) -> bool:
        """Do the merges that are due, on a thread. True where there were any."""
        settled = False
        async with self._building:
            while (merge := self.due()) is not None:
                await self._make(merge)
                settled = True
        return settled

    async def _make(self, merge: Merge[Entry, Segment]) -> None:
        try:
            segment = await asyncio.to_thread(merge.build)
        except BaseException:
            self.abandon()
            raise
        self.finish(merge, segment)

    def load(self, entries: Iterable[tuple[str, Entry]]) -> Merge[Entry, Segment]:
        """A segment of many newcomers, searchable once it is finished. One merge at a time.

        Raises:
            GuardError: one of them is there already.
        """
        pairs = tuple(entries)
        self._reserve([request for request, _ in pairs])
        return self._begin(pairs, len(self._tiers), 0)

    def due(self) -> Merge[Entry, Segment] | None:
        """The next merge that is worth its while. One at a time: finish or abandon it."""
        first = _first_outweighed([tier.weight for tier in self._tiers], light=self._light)
        count = len(self._tiers)
        if first is None:
            stale = (i for i, tier in enumerate(self._tiers) if self._live(tier) < (1 - self._stale) * tier.weight)
            if (first := next(stale, None)) is None:
                return None
            count = first + 1
        entries = tuple(pair for tier in self._tiers[first:count] for pair in tier.entries)
        return self._begin(entries, first, count - first)

    def finish(self, merge: Merge[Entry, Segment], segment: Segment) -> None:
        """The segment takes the place of those that it was built of, without what was discarded meanwhile."""
        wanted, start, stop = self._merging or set(), self._from, self._from + self._merged
        entries = tuple(pair for pair in merge.entries if pair[0] in wanted)
        gone = frozenset(request for request, _ in merge.entries if request not in wanted)
        weight = sum(self._weigh(entry) for _, entry in merge.entries)
        made = (Tier(entries, segment, weight, gone),) if entries else ()
        self._tiers = (*self._tiers[:start], *made, *self._tiers[stop:])
        self._end()

    def abandon(self) -> None:
        """The merge under way failed: what served before serves on; newcomers that were being loaded are unknown."""
        if self._merged == 0:
            self._requests -= self._merging or set()
        self._end()

    def _begin(self, entries: tuple[tuple[str, Entry], ...], start: int, count: int) -> Merge[Entry, Segment]:
        assert self._merging is None, "one merge at a time"
        self._merging = {request for request, _ in entries}
        self._from, self._merged = start, count
        return Merge(entries, lambda: self._build(entries))

    def _end(self) -> None:
        self._merging, self._from, self._merged = None, 0, 0

    def _reserve(self, requests: Sequence[str]) -> None:
        if not self._requests.isdisjoint(requests) or len(set(requests)) < len(requests):
            raise GuardError("request is already in the index; discard it first")
        self._requests.update(requests)

    def _without(self, request: str) -> Iterator[Tier[Entry, Segment]]:
        for i, tier in enumerate(self._tiers):
            entries = tuple(pair for pair in tier.entries if pair[0] != request)
            if len(entries) == len(tier.entries):
                yield tier
            elif self._from <= i < self._from + self._merged or tier.weight > self._at_once:
                yield replace(tier, entries=entries, gone=tier.gone | {request})
            elif entries:
                yield self._tier(entries)
            elif i < self._from:
                self._from -= 1

    def _live(self, tier: Tier[Entry, Segment]) -> int:
        return sum(self._weigh(entry) for _, entry in tier.entries) if tier.gone else tier.weight

    def _tier(self, entries: tuple[tuple[str, Entry], ...]) -> Tier[Entry, Segment]:
        return Tier(entries, self._build(entries), sum(self._weigh(entry) for _, entry in entries))


def _first_outweighed(weights: Sequence[int], most: float = math.inf, light: float = 0.0) -> int | None:
    """The oldest that weighs no more than all newer ones together, or `light` with them, where that makes at most
    `most`."""
    found, newer = None, 0
    for i in range(len(weights) - 1, -1, -1):
        together = weights[i] + newer
        if newer and together <= most and (weights[i] <= newer or together <= light):
            found = i
        newer = together
    return found
