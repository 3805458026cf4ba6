"""Names in a stream: held from where one may have begun, found when the character after it has come.

Aho-Corasick finds names that ended; a name that may still come is a suffix of the stream that begins
at the edge of a word and is a beginning of some name, which the automaton's trie answers at once.
Places where no name begins any more are never asked again, so reading is linear in the text.

Two readings: the folded text, and its letters and digits alone, leet undone, for "M a r a L i n d",
"Mara.Lind" and "M4raLind". More than `GAP` characters between two letters part them, or a row of
dots would be held for ever.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from copy import copy
from functools import lru_cache

from guards.aliases import common_words, everyday_words
from guards.lexicon import Automata, LexiconView, joined
from guards.text import fold, squash
from guards.watch import Chunk, Found

GAP = 8  # characters between two letters of a name
_TELLING = 4  # characters of a name that are no longer anybody's
_PART = "\n"  # stands in no name

_letter = lru_cache(4096)(squash)


class Prefixes:
    """Finds names in one reading of a stream, and the first place where one may be coming."""

    def __init__(self, automata: Sequence[Automata], squashed: bool = False) -> None:
        found = [one.squashed if squashed else one.folded for one in automata]
        self._automata = [automaton for automaton in found if automaton is not None]
        self._longest = max((one.longest for one in automata), default=0)
        self._squashed = squashed
        self._text = ""  # this reading, from the first place where a name may be coming
        self._at: list[int] = []  # for each of its characters, the offset in the stream
        self._edges: list[int] = []  # of words, in the stream, no earlier than that
        self._last = -1  # the offset of the last letter
        self._read = 0  # characters of the stream that were read
        self.safe = 0

    def read(self, chunk: Chunk) -> list[tuple[Found, tuple[str, ...]]]:
        """The names that ended since, in order, each with its requests."""
        if not self._automata:
            self.safe = chunk.stop
            return []
        self._edges += chunk.edges
        self._take(chunk)
        found = sorted(self._ended(chunk)) if self._text else []
        self._read = chunk.stop
        self._forget(chunk)
        return found

    def fork(self) -> "Prefixes":
        other = copy(self)
        other._at, other._edges = [*self._at], [*self._edges]
        return other

    def _take(self, chunk: Chunk) -> None:
        if not self._squashed:
            self._text += chunk.text
            self._at += range(chunk.start, chunk.stop)
            return
        space = chunk.text[:1] == " "
        letters = squash(chunk.text)
        if letters and len(letters) == len(chunk.text) - space and chunk.start + space - self._last <= GAP + 1:
            self._text += letters  # a word, as most chunks are
            self._at += range(chunk.start + space, chunk.stop)
            self._last = chunk.stop - 1
            return
        for at, char in enumerate(chunk.text, chunk.start):
            if letter := _letter(char):
                if at - self._last > GAP + 1:
                    self._text += _PART
                    self._at.append(at)
                self._text += letter
                self._at.append(at)
                self._last = at

    def _ended(self, chunk: Chunk) -> Iterator[tuple[Found, tuple[str, ...]]]:
        for automaton in self._automata:
            for last, (length, requests) in automaton.iter(self._text):
                start, stop = self._at[last + 1 - length], self._at[last] + 1
                if stop < self._read or (stop >= chunk.stop and not chunk.last):  # found before, or may go on
                    continue
                if not self._edge(start) or not (stop == chunk.stop or self._edge(stop)):
                    continue
                if (
                    self._squashed
                    and stop - start == length
                    and self._text[last + 1 - length : last + 1] in _ordinary()
                ):
                    continue  # "another" is not Ann Other
                yield Found(stop, start), requests

    def _edge(self, at: int) -> bool:
        i = bisect_left(self._edges, at)
        return i < len(self._edges) and self._edges[i] == at

    def _forget(self, chunk: Chunk) -> None:
        """Lets go of all before the first place where a name may be coming."""
        first = None if chunk.last else self._coming()
        if first is None:
            self._text, self._at, self._edges, self.safe = "", [], [], chunk.stop
            return
        self.safe = self._at[first]
        if first:
            self._text, self._at = self._text[first:], self._at[first:]
            del self._edges[: bisect_left(self._edges, self.safe)]

    def _coming(self) -> int | None:
        at, text = self._at, self._text
        far = len(text) - self._longest
        for edge in self._edges:
            i = bisect_left(at, edge)
            if i < len(at) and i >= far and at[i] == edge:
                rest = text[i:]
                for automaton in self._automata:
                    if automaton.match(rest):
                        return i
        return None


class NameWatch:
    """Strong aliases of the requests of a view, in both readings."""

    def __init__(self, view: LexiconView) -> None:
        self._view = view
        self._folded = Prefixes(view.automata)
        self._squashed = Prefixes(view.automata, squashed=True)

    @property
    def safe(self) -> int:
        return min(self._folded.safe, self._squashed.safe)

    def fork(self) -> "NameWatch":
        other = copy(self)
        other._folded, other._squashed = self._folded.fork(), self._squashed.fork()
        return other

    def tells(self, before: str, text: str) -> bool:
        """Whether a name would end in `text`, or would have begun by `_TELLING` characters."""
        known = len(fold(before))
        folded = fold(before + text)
        starts = [i for i in range(len(folded)) if not i or not joined(folded[i - 1], folded[i])]
        for automaton in (one.folded for one in self._view.automata if one.folded is not None):
            if any(last >= known and last + 1 - length in starts for last, (length, _) in automaton.iter(folded)):
                return True
            if any(len(folded) - i >= _TELLING and automaton.match(folded[i:]) for i in starts):
                return True
        return False

    def read(self, chunk: Chunk) -> Found | None:
        plain, squashed = self._folded.read(chunk), self._squashed.read(chunk)
        return min(self._named([*plain, *squashed]), default=None)

    def _named(self, found: Sequence[tuple[Found, tuple[str, ...]]]) -> Iterator[Found]:
        for (at, start, _), requests in found:
            yield from (Found(at, start, request) for request in requests if request in self._view.requests)


@lru_cache(1)
def _ordinary() -> frozenset[str]:
    return common_words() | everyday_words()
