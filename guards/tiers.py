"""Searchable segments that grow like a log-structured merge tree.

An automaton or a vector index is built once and never changed; adding builds a small new segment
and merges neighbours of like size. The thousandth request costs what the tenth did (amortised
O(own size · log n)), and a view that holds the tuple of segments sees no later change.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from guards.base import GuardError

Entry = TypeVar("Entry")
Segment = TypeVar("Segment")


@dataclass(frozen=True, slots=True)
class Tier(Generic[Entry, Segment]):
    """Some requests' entries and the segment that was built of them."""

    entries: tuple[tuple[str, Entry], ...]
    segment: Segment


class Tiers(Generic[Entry, Segment]):
    """At most about log2(n) segments over n requests.

    Args:
        build: makes a segment of (request, entry) pairs.
    """

    def __init__(self, build: Callable[[Sequence[tuple[str, Entry]]], Segment]) -> None:
        self._build = build
        self._tiers: tuple[Tier[Entry, Segment], ...] = ()
        self._requests: set[str] = set()

    @property
    def tiers(self) -> tuple[Tier[Entry, Segment], ...]:
        """The segments as they are now; this tuple never changes."""
        return self._tiers

    def add(self, request: str, entry: Entry) -> None:
        """Make one request searchable. Raises `GuardError` when it already is."""
        if request in self._requests:
            raise GuardError("request is already in the index; discard it first")
        tiers = list(self._tiers)
        entries: tuple[tuple[str, Entry], ...] = ((request, entry),)
        while tiers and len(tiers[-1].entries) <= len(entries):
            entries = tiers.pop().entries + entries
        self._tiers = (*tiers, self._tier(entries))
        self._requests.add(request)

    def discard(self, request: str) -> None:
        """Leave no trace of a request; unknown ones are ignored."""
        if request in self._requests:
            self._tiers = tuple(self._kept(self._tiers, request))
            self._requests.remove(request)

    def _kept(self, tiers: Iterable[Tier[Entry, Segment]], request: str) -> Iterable[Tier[Entry, Segment]]:
        for tier in tiers:
            entries = tuple(entry for entry in tier.entries if entry[0] != request)
            if len(entries) == len(tier.entries):
                yield tier
            elif entries:
                yield self._tier(entries)

    def _tier(self, entries: tuple[tuple[str, Entry], ...]) -> Tier[Entry, Segment]:
        return Tier(entries, self._build(entries))
