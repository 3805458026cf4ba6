"""Forgotten text said word for word, or nearly: five-word shingles of documents, found as they come.

Every run of `SHINGLE` words of a document is kept as a hash. A stream in which one shingle follows
another copies a document; at `CUT` words covered it has copied too much (a document shorter than that:
at all its words). Up to `SLIPS` changed words do not end a run (near-verbatim), they only do not count.

While shingles follow each other the words are held, so of an exact copy a client sees its first
`SHINGLE` words and no more; a changed word lets go of what is held, so that of a copy with changes it
sees fewer than `CUT` words and the changes between them. A match by chance delays a few words.

Measured on biographies, 218,000 words forgotten against 1,552 passages about others: at 12 words 26
passages were cut for the full names of prizes and the like, at 16 nine, with `SLIPS` 0 four.

Hashes are Python's own of the words (SipHash, keyed by the process), made anew at every start and
never written. A segment has them sorted, 12 bytes a shingle with their owners, behind a bit table that
most words of other texts do not pass. Cf. n-gram filters such as MemFree's (arXiv 2210.17546), which
uses a Bloom filter over ten-token n-grams; here false positives of the filter are looked up and fall away.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.text import fold
from guards.tiers import Tiers
from guards.watch import Chunk, Found, split

SHINGLE = 5
CUT = 16
SLIPS = 2

Hashes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Copied:
    """The shingles (k,) of some texts of a request, and how many of their words may not be said."""

    need: int
    shingles: Hashes = field(repr=False)


def shingles_of(documents: Sequence[str]) -> tuple[Copied, ...]:
    """What a stream is compared with. Documents of `SHINGLE` words or fewer are left to other guards."""
    found: dict[int, list[int]] = {}
    for document in documents:
        words = split(fold(document))
        if len(words) > SHINGLE:
            hashes = found.setdefault(min(CUT, len(words)), [])
            hashes += [hash(tuple(words[i : i + SHINGLE])) for i in range(len(words) - SHINGLE + 1)]
    return tuple(Copied(need, np.unique(np.array(hashes, np.int64))) for need, hashes in found.items())


@dataclass(frozen=True, slots=True)
class _Segment:
    """Sorted `hashes` (k,), whose each is (k,), and a table of 8 to 16 bits a hash that says which there may be."""

    hashes: Any = field(repr=False)  # a memoryview: its items are Python's integers at once
    owners: Any = field(repr=False)
    known: tuple[tuple[str, int], ...] = field(repr=False)
    table: bytes = field(repr=False)

    def owners_of(self, shingle: int) -> Iterator[tuple[str, int]]:
        """The (request, words that may not be said) of every text that has a shingle."""
        place = shingle & (8 * len(self.table) - 1)
        if not self.table[place >> 3] >> (place & 7) & 1:
            return
        i = bisect_left(self.hashes, shingle)
        while i < len(self.hashes) and self.hashes[i] == shingle:
            yield self.known[self.owners[i]]
            i += 1


def _build(entries: Sequence[tuple[str, tuple[Copied, ...]]]) -> _Segment:
    texts = [(request, text) for request, copied in entries for text in copied]
    hashes = np.concatenate([np.empty(0, np.int64), *(text.shingles for _, text in texts)])
    owners = np.repeat(np.arange(len(texts), dtype=np.uint32), [len(text.shingles) for _, text in texts])
    order = np.argsort(hashes, kind="stable")
    bits = np.zeros(max(8, 1 << (8 * len(hashes)).bit_length()), np.uint8)
    bits[hashes & (len(bits) - 1)] = 1
    table = np.packbits(bits, bitorder="little").tobytes()
    known = tuple((request, text.need) for request, text in texts)
    return _Segment(hashes[order].data, owners[order].data, known, table)


class Passages:
    """The documents of all requests; addable and removable while traffic runs."""

    def __init__(self) -> None:
        self._tiers: Tiers[tuple[Copied, ...], _Segment] = Tiers(_build)

    def add(self, request: str, documents: Sequence[str]) -> None:
        """About a microsecond a word. Raises `GuardError` when the request is there already."""
        if copied := shingles_of(documents):
            self._tiers.add(request, copied)

    def discard(self, request: str) -> None:
        self._tiers.discard(request)

    def view(self, requests: frozenset[str]) -> "PassageView":
        """What a policy sees: these requests, as they are now."""
        return PassageView(tuple(tier.segment for tier in self._tiers.tiers), requests)


@dataclass(frozen=True, slots=True)
class PassageView:
    """An immutable set of shingles and the requests that count."""

    segments: tuple[_Segment, ...] = field(default=(), repr=False)
    requests: frozenset[str] = frozenset()

    def owners_of(self, shingle: int) -> list[tuple[str, int]]:
        """See `_Segment.owners_of`."""
        return [one for part in self.segments for one in part.owners_of(shingle) if one[0] in self.requests]


class PassageWatch:
    """Counts the words of each forgotten text that a stream has copied."""

    def __init__(self, view: PassageView) -> None:
        self._view = view
        self._words: deque[str] = deque(maxlen=SHINGLE)
        self._count = 0
        self._runs: dict[tuple[str, int], tuple[int, int]] = {}  # whose → words covered, the last of them
        self._held: int | None = None
        self.safe = 0

    def fork(self) -> "PassageWatch":
        other = copy(self)
        other._words = self._words.copy()
        return other

    def tells(self, before: str, text: str) -> bool:
        return bool(self._view.owners_of(hash(tuple(split(fold(before + text))[-SHINGLE:]))))

    def read(self, chunk: Chunk) -> Found | None:
        """The first text of which too much was copied."""
        for text, _, stop in chunk.pieces:
            if text[0].isalnum() and (found := self._word(text, stop)) is not None:
                return found
        self.safe = chunk.stop if self._held is None else self._held
        return None

    def _word(self, word: str, stop: int) -> Found | None:
        self._words.append(word)
        self._count += 1
        owners = self._view.owners_of(hash(tuple(self._words))) if self._count >= SHINGLE else ()
        if not owners:
            self._held = None
            return None
        self._held = stop if self._held is None else self._held
        runs = {}
        for owner in owners:
            covered, last = self._runs.get(owner, (0, 0))
            since = self._count - last
            runs[owner] = (covered + min(since, SHINGLE) if since <= SHINGLE + SLIPS else SHINGLE, self._count)
        self._runs = {one: run for one, run in self._runs.items() if self._count - run[1] <= SHINGLE + SLIPS} | runs
        over = [request for (request, need), (covered, _) in runs.items() if covered >= need]
        return Found(stop, self._held, min(over)) if over else None
