"""What everyone who reads an answer shares: its folded text, cut into words as it comes.

Before it: `guards.text` folds. After it: `guards.names`, `guards.verbatim` and `guards.slots` watch
for what may not be said, and `guards.output` holds back what none of them is sure of. Offsets count
the characters of the folded stream from its start. A word is known when the next character comes,
so what is found, and when, does not depend on how the text was cut into chunks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

from guards.lexicon import spaceless

LONGEST_WORD = 64  # characters of a word that are read; nothing that is looked for has more

# a character of a script without spaces, a word, a mark, a space
_PIECE = re.compile(
    "(?=[^\\W_])[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff\U00020000-\U0010ffff]"
    "|[^\\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff\U00020000-\U0010ffff]+"
    "|.",
    re.DOTALL,
)


class Found(NamedTuple):
    """Something that may not be said: known at `at`, begun at `start`, and whose it is. The least comes first."""

    at: int
    start: int
    request: str = ""


class Piece(NamedTuple):
    """A word or a mark, [start, stop). A very long word loses its end."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came: folded `text` from offset `start` on.

    `edges` are the offsets at which a word, a mark or a space begins, ascending; `pieces` the words and
    marks that ended; `open` the offset of a word that may go on; `last` says that nothing follows.
    """

    text: str = field(repr=False)
    start: int
    edges: Sequence[int]
    pieces: Sequence[Piece] = field(repr=False)
    open: int | None
    last: bool

    @property
    def stop(self) -> int:
        return self.start + len(self.text)


class Watch(Protocol):
    """Reads one stream. What lies before `safe` may leave: nothing found later begins there."""

    @property
    def safe(self) -> int: ...

    def read(self, chunk: Chunk) -> Found | None:
        """The first thing found, if anything was; nothing matters after that."""
        ...

    def tells(self, before: str, text: str) -> bool:
        """Whether `text`, said now in place of what was said after `before`, would give something away."""
        ...

    def fork(self) -> Self:
        """Another that has read the same, and reads on by itself."""
        ...


def split(folded: str) -> list[str]:
    """The words of a folded text, as a stream's pieces have them."""
    return [word[:LONGEST_WORD] for word in _PIECE.findall(folded) if word[0].isalnum()]


class Splitter:
    """Cuts a folded stream into chunks of pieces."""

    def __init__(self) -> None:
        self._at = 0
        self._word = ""  # the word that may go on
        self._begun = 0

    @property
    def at(self) -> int:
        """Characters that have come."""
        return self._at

    def push(self, text: str, last: bool = False) -> Chunk:
        """The next folded characters; with `last`, none follow."""
        edges: list[int] = []
        pieces: list[Piece] = []
        start = self._at
        self._at += len(text)
        for match in _PIECE.finditer(text):
            piece, at = match[0], start + match.start()
            if self._word:
                if at == start and piece[0].isalnum() and not (spaceless(piece[0]) or spaceless(self._word[0])):
                    if len(self._word) < LONGEST_WORD:
                        self._word += piece[:LONGEST_WORD]
                    continue
                self._end(pieces, at)
            edges.append(at)
            if piece[0].isalnum():
                self._word, self._begun = piece, at
            elif piece != " ":
                pieces.append(Piece(piece, at, at + 1))
        if last and self._word:
            self._end(pieces, self._at)
        return Chunk(text, start, edges, pieces, self._begun if self._word else None, last)

    def _end(self, pieces: list[Piece], stop: int) -> None:
        pieces.append(Piece(self._word[:LONGEST_WORD], self._begun, stop))
        self._word = ""
