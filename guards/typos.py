"""Finds names with typing errors in them, at a cost that does not depend on how many names there are.

Symmetric deletion (SymSpell, Garbe 2012): two words that are one edit apart share a form with at most
one letter deleted from either, so the forms of all words of all names are hashed once, sorted, and a
text's words are looked up by binary search. Departures: forms are kept as 64-bit hashes only (12 bytes
a form), every find is checked by its true edit distance (a swap of neighbours counts one), and all
words of a name must stand side by side, in any order and with initials between them. What is forgiven:
one edit in words of five letters and more, two from nine; two words of one name only where both are
long; a name of one word only where it is longer still, by one edit, and not for an inflection's "s".
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from guards.aliases import common_words, everyday_words, words

ONE, TWO = 5, 9  # letters from which one edit, and two, are forgiven
ALONE = 8  # letters that a name of one word needs
BOTH = 6  # letters that two misspelled words of one name need each
LONGEST = 24  # letters; what is longer is no word of a name
PREFIX = 7  # letters of a word whose forms are hashed; what is longer is told by its distance
LIMIT = 4_000  # distinct unknown words of a text that are looked up: what bounds the cost of a megabyte
_NEAR = 8  # words of names that one misspelled word may stand for
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def edits(size: int) -> int:
    """Edits forgiven in a word of a name with `size` letters."""
    return 0 if size < ONE else 1 if size < TWO else 2


def forms(word: str, deletions: int) -> set[str]:
    """The first letters of a word, and what is left of them after up to so many deletions."""
    found = last = {word[:PREFIX]}
    for _ in range(deletions):
        last = {form[:i] + form[i + 1 :] for form in last for i in range(len(form))}
        found = found | last
    return found


def distance(one: str, other: str, limit: int) -> int:
    """Optimal string alignment: edits between two words, a swap of neighbours counts one.

    Told exactly up to `limit`; what is more is only told to be more. A column of the textbook's table is kept as
    the places where it goes `up` and `down`, the bits of two integers (Hyyrö 2003).
    """
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for i, letter in enumerate(one):
        places[letter] = places.get(letter, 0) | 1 << i
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, level, before, found = every, 0, 0, 0, len(one)
    for letter in other:
        here = places.get(letter, 0)
        swapped = (~level & here) << 1 & before
        level = ((here & up) + up ^ up) | here | down | swapped  # where the diagonal adds nothing
        more, less = down | ~(level | up), level & up  # than in the column before
        found += 1 if more & last else -1 if less & last else 0
        more = more << 1 | 1
        up, down = (less << 1 | ~(level | more)) & every, more & level & every
        before = here
    return found


@dataclass(frozen=True, slots=True)
class Slip:
    """A name as misspelled, or turned round: [start, stop) of the folded text."""

    requests: tuple[str, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Spelling:
    """Names of one request, ready to be merged with others: its words' forms are hashed once."""

    names: tuple[tuple[str, ...], ...] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    hashes: NDArray[np.int64] = field(repr=False)
    owners: NDArray[np.int32] = field(repr=False)

    @classmethod
    def of(cls, names: Iterable[str]) -> "Spelling":
        """Of strong names, as filed. Initials are left out; a name of initials and one word is not looked for."""
        kept = set()
        for name in names:
            parts = words(name)
            long = tuple(part for part in parts if len(part) > 1)
            if len(long) > 1 or (len(parts) == 1 and long and len(long[0]) >= ALONE):
                kept.add(tuple(sorted(long)))
        vocabulary = tuple(sorted({word for name in kept for word in name}))
        hashed = [(hash(form), i) for i, word in enumerate(vocabulary) for form in forms(word, edits(len(word)))]
        pairs = np.array(hashed, np.int64).reshape(-1, 2)
        return cls(tuple(sorted(kept)), vocabulary, pairs[:, 0].copy(), pairs[:, 1].astype(np.int32))


@dataclass(frozen=True, eq=False)
class Spellings:
    """Names of many requests. Immutable."""

    names: Mapping[tuple[str, ...], tuple[str, ...]] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    vocabulary: frozenset[str] = field(repr=False)
    hashes: NDArray[np.int64] = field(repr=False)
    owners: NDArray[np.int32] = field(repr=False)
    longest: int

    @classmethod
    def build(cls, entries: Sequence[tuple[str, Spelling]]) -> "Spellings":
        """Of (request, its names); sorts what was hashed."""
        names: dict[tuple[str, ...], tuple[str, ...]] = {}
        for request, spelling in entries:
            for name in spelling.names:
                names[name] = (*names.get(name, ()), request)
        sizes = np.cumsum([0, *(len(spelling.words) for _, spelling in entries)])
        hashes = np.concatenate([spelling.hashes for _, spelling in entries])
        owners = np.concatenate(
            [one.owners + size for (_, one), size in zip(entries, sizes[:-1].tolist(), strict=True)]
        )
        order = np.argsort(hashes, kind="stable")
        return cls(
            names,
            every := tuple(word for _, spelling in entries for word in spelling.words),
            frozenset(every),
            hashes[order],
            owners[order].astype(np.int32),
            max(map(len, names), default=0),
        )

    def meant(self, present: Iterable[str], unknown: "Unknown") -> Mapping[str, Mapping[str, int]]:
        """For each word of a text that may be a word of a name: those words, with the edits between."""
        near = self.near(unknown) if unknown.words else {}
        return {**near, **{word: {word: 0} for word in present if word in self.vocabulary}}

    def near(self, unknown: "Unknown") -> dict[str, dict[str, int]]:
        """For each unknown word the words of names that it may stand for, nearest first, with the edits between."""
        first, last = (np.searchsorted(self.hashes, unknown.hashes, side) for side in ("left", "right"))
        found: dict[str, set[str]] = {}
        for at in np.flatnonzero(first < last).tolist():
            alike = found.setdefault(unknown.words[unknown.owners[at]], set())
            alike.update(self.words[owner] for owner in self.owners[first[at] : last[at]].tolist())
        return {word: _nearest(word, alike) for word, alike in found.items()}


def _nearest(word: str, alike: Iterable[str]) -> dict[str, int]:
    apart = sorted((distance(word, other, edits(len(other))), other) for other in alike)
    kept = [(edit, other) for edit, other in apart if edit <= edits(len(other)) and not _inflected(word, other)]
    return {other: edit for edit, other in kept[:_NEAR]}


def _inflected(word: str, other: str) -> bool:
    return word == other + "s" or other == word + "s"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Words of a text that are no dictionary's, with the hashes of their forms; `owners[i]` is whose `hashes[i]` is."""

    words: tuple[str, ...] = field(repr=False)
    hashes: NDArray[np.int64] = field(repr=False)
    owners: Sequence[int] = field(repr=False)

    @classmethod
    def of(cls, found: Iterable[str]) -> "Unknown":
        """The first `LIMIT` that are long enough to be misspelled."""
        kept = dict.fromkeys(word for word in found if ONE - 1 <= len(word) <= LONGEST and not _everyday(word))
        listed = tuple(kept)[:LIMIT]
        hashed = [
            (hash(form), i) for i, word in enumerate(listed) for form in forms(word, 2 if len(word) >= TWO - 2 else 1)
        ]
        return cls(listed, np.array([key for key, _ in hashed], np.int64), [owner for _, owner in hashed])


def _everyday(word: str) -> bool:
    return word in common_words() or word in everyday_words()


def slips(spellings: Sequence[Spellings], folded: str) -> Iterator[Slip]:
    """Every name whose words stand side by side, misspelled within what is forgiven, or in another order."""
    if not any(one.names for one in spellings):
        return
    present = dict.fromkeys(word for token in dict.fromkeys(_WORD.findall(folded)) if len(word := _word(token)) > 1)
    unknown = Unknown.of(present)
    meant = [(one, one.meant(present, unknown)) for one in spellings if one.names]
    if not any(parts for _, parts in meant):
        return
    tokens = [(_word(match[0]), *match.span()) for match in _WORD.finditer(folded)]
    tokens = [token for token in tokens if len(token[0]) > 1]  # initials may stand between
    for one, parts in meant:
        if parts:
            yield from _found(one, tokens, parts)


def _word(token: str) -> str:
    return token.removesuffix("'s").replace("'", "") if "'" in token else token


def _found(
    one: Spellings, tokens: Sequence[tuple[str, int, int]], meant: Mapping[str, Mapping[str, int]]
) -> Iterator[Slip]:
    for begin in [i for i, token in enumerate(tokens) if token[0] in meant]:
        options: list[Mapping[str, int]] = []
        for word, _, stop in tokens[begin : begin + one.longest]:
            if word not in meant:
                break
            options.append(meant[word])
            for chosen in product(*options):
                requests = one.names.get(tuple(sorted(chosen)))
                if requests and _forgiven([(name, apart[name]) for name, apart in zip(chosen, options, strict=True)]):
                    yield Slip(requests, tokens[begin][1], stop)


def _forgiven(name: Sequence[tuple[str, int]]) -> bool:
    """Whether a name's words may be meant, each given with the edits to it."""
    edited = [word for word, edit in name if edit]
    if len(name) == 1:
        return len(name[0][0]) >= ALONE and name[0][1] <= 1
    return len(edited) <= 1 or (len(edited) == 2 and all(len(word) >= BOTH for word in edited))
