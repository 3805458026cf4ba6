"""What a text names, beside what it is like.

Two questions about different people are near neighbours to an encoder. A second, exact look asks
whether the text names the subject at all, and whether its numbers are those of the target: evidence
that is added to a cosine. A name counts when one of its words stands in a run of capitalised words
without a stranger among them: "Lind's mother" names Mara Lind, "Tomas Lind" does not. In a text
without capitals every uncommon word is taken for a name. Beside a word of the name, one typing error is
forgiven in words of six letters and more. The weights were set by eye on TOFU's forget10 against
retain90 and checked on twenty other authors (tests/guards/test_tofu.py).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from guards.aliases import common_words, words
from guards.contrast import identifies
from guards.encoder import Floats
from guards.reading import Text, Token

NAMED = 0.10  # the target names the subject and so does the text
UNNAMED = -0.15  # the target names the subject, the text does not, or names a namesake
OTHER_NUMBER = -0.15  # both have numbers, none in common
NO_NUMBER = -0.10  # the target is told by its number alone, the text has none
VAGUE = -0.15  # the target names nothing: "Where was the author born?" fits everyone

_YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")
_TYPO = 6


@dataclass(frozen=True, slots=True)
class Names:
    """The words of subject and aliases, folded; `full` holds each name whole."""

    parts: frozenset[str] = field(repr=False)
    full: tuple[frozenset[str], ...] = field(repr=False)

    @classmethod
    def of(cls, aliases: Sequence[str]) -> "Names":
        full = tuple(frozenset(words(alias)) for alias in aliases)
        return cls(frozenset(part for name in full for part in name if part not in common_words()), full)

    def named_in(self, text: Text) -> bool:
        """Whether a text names the subject, in full or by a part that no stranger's name takes up."""
        if self.parts.isdisjoint(text.spoken):
            return False
        alone: list[set[str | None]] = []
        taken: set[str | None] = set()  # by a stranger: who is named Mara Hall once is Mara afterwards
        for run in _runs(text.tokens, self.parts):
            if self.parts.isdisjoint(run):
                continue
            known = [self._near(word) for word in run]
            if any(name <= set(known) for name in self.full if name):
                return True
            first = next(i for i, near in enumerate(known) if near)  # "Did Lind" is Lind; "Mara Hall" is not Mara
            if all(known[first:]) and common_words().issuperset(run[:first]):
                alone.append(set(known[first:]))
            else:
                taken.update(known)
        return any(not taken.issuperset(words) for words in alone)

    def _near(self, word: str) -> str | None:
        if word in self.parts:
            return word
        if len(word) < _TYPO:
            return None
        return next((part for part in self.parts if len(part) >= _TYPO and _one_edit(word, part)), None)


@dataclass(frozen=True)
class Marks:
    """What each of a request's questions hangs on; aligned with its vectors."""

    named: tuple[bool, ...]
    years: tuple[frozenset[str], ...]
    vague: tuple[bool, ...]

    @classmethod
    def of(cls, texts: Sequence[str], aliases: Sequence[str]) -> "Marks":
        names = Names.of(aliases)
        named = tuple(names.named_in(Text(text)) for text in texts)
        return cls(
            named,
            tuple(frozenset() if name else years(text) for text, name in zip(texts, named, strict=True)),
            tuple(not identifies(text, aliases) for text in texts),
        )

    @cached_property
    def _fixed(self) -> tuple[Floats, Floats]:
        """What is added to each where the text names the subject, and where it does not."""
        vague = np.array(self.vague, np.float32) * np.float32(VAGUE)
        named = np.array(self.named, np.float32)
        return vague + named * np.float32(NAMED), vague + named * np.float32(UNNAMED)

    @cached_property
    def _numbered(self) -> tuple[tuple[int, frozenset[str]], ...]:
        return tuple((i, numbers) for i, numbers in enumerate(self.years) if numbers)

    def evidence(self, text: Text, names: Names) -> Floats:
        """What a text adds to its cosine with each question, (p,)."""
        named, unnamed = self._fixed
        added = (named if names.named_in(text) else unnamed).copy()
        found = years(text)
        for i, numbers in self._numbered:
            if numbers.isdisjoint(found):
                added[i] += OTHER_NUMBER if found else NO_NUMBER
        return added


def years(text: str) -> frozenset[str]:
    """The four-digit numbers of a text."""
    return frozenset(_YEAR.findall(text))


def _runs(tokens: Sequence[Token], parts: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Neighbouring words that look like one name."""
    run: list[str] = []
    for word, capital, joined in tokens:
        looks = capital or word in parts
        if run and not (looks and joined):
            yield tuple(run)
            run = []
        if looks and word:
            run.append(word)
    if run:
        yield tuple(run)


def _one_edit(one: str, other: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours makes both equal."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
