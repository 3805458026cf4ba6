"""What the texts of very many requests say of one text that names none of them.

`guards.knowledge` compares a text with the words, titles and names of one request. Nearly always the text
holds no word of the request's names: then the names, the short forms and the strangers are the same for
every such request, and only titles, words and roles must be looked up: one request after another where they
are few, in inverted lists of all where they are many. What is found equals `Knowledge.evidence`.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from guards.encoder import Floats
from guards.knowledge import _STRANGE, Knowledge
from guards.reading import LINKS, Reading, Run, bare, people

Item = TypeVar("Item", bound=Hashable)
Postings = Mapping[Item, tuple[NDArray[np.int32], Floats]]  # item → the places of requests that have it, its weights


@dataclass(frozen=True, slots=True)
class Glance:
    """One text, for all requests whose names it does not hold a word of.

    Attributes:
        runs: each name or title, without the common words that it begins with, and whether it is a stranger's
            where a request does not know it.
        spoken: the words of all runs.
    """

    runs: tuple[tuple[Run, Run, bool], ...] = field(repr=False)
    spoken: frozenset[str] = field(repr=False)
    words: frozenset[str] = field(repr=False)
    roles: frozenset[str] = field(repr=False)
    linked: bool  # a run is nothing but links, of which names may consist
    anybody: bool  # somebody is referred to by a role that fits everyone
    foreign: bool
    who: bool
    pronoun: bool

    @classmethod
    def of(cls, text: Reading) -> "Glance":
        every = (*text.runs, *text.titles)
        runs = [(run, run if run in text.titles else bare(run)) for run in every]
        return cls(
            runs=tuple(
                (run, short, not (LINKS.issuperset(short) or (len(run) == 1 and run[0] in text.openers)))
                for run, short in runs
            ),
            spoken=frozenset(word for run in every for word in run),
            words=text.words,
            roles=text.roles,
            linked=any(map(LINKS.issuperset, every)),
            anybody=not text.roles.isdisjoint(people()),
            foreign=text.foreign,
            who=text.who,
            pronoun=text.pronoun,
        )

    def suffices(self, known: Knowledge | None) -> bool:
        """Whether the text holds no word of the request's names."""
        return (
            known is not None
            and not self.linked
            and known.own.isdisjoint(self.spoken)
            and not any(map(LINKS.issuperset, known.names))
        )

    def evidence(self, known: Knowledge) -> list[float]:
        """As `Knowledge.evidence`, where a glance suffices."""
        telling, strangers = self._telling(known)
        best = max(telling, default=0.0)
        second = sorted(telling)[-2] if len(telling) > 1 else 0.0
        unknown = 0.0 if self.foreign else _STRANGE
        count = len(self.words)
        if known.words.keys().isdisjoint(self.words):
            total, absent = count * unknown, count
        else:
            odds = [known.words.get(word) for word in self.words]
            absent = odds.count(None)
            total = sum(odd for odd in odds if odd is not None) + absent * unknown
        size = max(1, count)
        role = self.anybody or not known.roles.isdisjoint(self.roles)
        return [
            0.0,
            0.0,
            best,
            second,
            min(strangers, 3.0),
            total / math.sqrt(size),
            total / size,
            0.0 if self.foreign else absent / size,
            role,
            role * max(best, 0.0),
            self.who,
            self.pronoun,
        ]

    def _telling(self, known: Knowledge) -> tuple[Sequence[float], float]:
        """The weights of the runs that the request knows, and how many others are strangers."""
        telling: list[float] = []
        strangers = 0.0
        for run, short, strange in self.runs:
            if weight := max(known.runs.get(run, 0.0), known.runs.get(short, 0.0)):
                telling.append(weight)
            else:
                strangers += strange
        return telling, strangers


@dataclass(frozen=True, slots=True)
class Lists:
    """What many requests know, by what they know it of; `count` requests."""

    count: int
    words: Postings[str] = field(repr=False)
    runs: Postings[Run] = field(repr=False)
    roles: Postings[str] = field(repr=False)
    own: Postings[str] = field(repr=False)
    never: NDArray[np.bool_] = field(repr=False)  # for these a glance never suffices

    @classmethod
    def of(cls, some: Sequence[Knowledge | None]) -> "Lists":
        known = [(place, one) for place, one in enumerate(some) if one is not None]
        never = np.array([one is None or any(map(LINKS.issuperset, one.names)) for one in some], np.bool_)
        return cls(
            len(some),
            _posted((place, one.words.items()) for place, one in known),
            _posted((place, one.runs.items()) for place, one in known),
            _posted((place, ((role, 1.0) for role in one.roles)) for place, one in known),
            _posted((place, ((word, 1.0) for word in one.own)) for place, one in known),
            never,
        )

    def suffices(self, glance: Glance) -> NDArray[np.bool_]:
        """`Glance.suffices`, (requests,)."""
        if glance.linked:
            return np.zeros(self.count, np.bool_)
        found = ~self.never
        for places, _ in _listed(self.own, glance.spoken):
            found[places] = False
        return found

    def evidence(self, glance: Glance) -> Floats:
        """`Glance.evidence`, (requests, len(FEATURES)); meaningless where a glance does not suffice."""
        total, known, role = np.zeros((3, self.count), np.float32)
        for places, odds in _listed(self.words, glance.words):
            total[places] += odds
            known[places] += 1.0
        count = len(glance.words)
        size, absent = max(1, count), count - known
        total += absent * np.float32(0.0 if glance.foreign else _STRANGE)
        for places, _ in _listed(self.roles, glance.roles):
            role[places] = 1.0
        if glance.anybody:
            role[:] = 1.0
        best, second, strangers = self._telling(glance)
        none = np.zeros(self.count, np.float32)
        return np.column_stack(
            [
                none,
                none,
                best,
                second,
                np.minimum(strangers, np.float32(3.0)),
                total / np.float32(math.sqrt(size)),
                total / np.float32(size),
                none if glance.foreign else absent / np.float32(size),
                role,
                role * np.maximum(best, 0.0),
                none + np.float32(glance.who),
                none + np.float32(glance.pronoun),
            ]
        )

    def _telling(self, glance: Glance) -> tuple[Floats, Floats, Floats]:
        """The two most telling runs' weights, and how many runs are strangers', (requests,) each."""
        best, second = np.full((2, self.count), -np.inf, np.float32)
        strangers = np.full(self.count, sum(strange for _, _, strange in glance.runs), np.float32)
        for run, short, strange in glance.runs:
            weights = np.zeros((2, self.count), np.float32)
            for own, one in zip(weights, (run, short), strict=True):
                for places, odds in _listed(self.runs, (one,)):
                    own[places] = odds
            weight = weights.max(axis=0)
            (known,) = np.nonzero(weight)
            weight, before = weight[known], best[known]
            second[known] = np.maximum(second[known], np.minimum(before, weight))
            best[known] = np.maximum(before, weight)
            strangers[known] -= strange
        best[np.isneginf(best)] = second[np.isneginf(second)] = 0.0
        return best, second, strangers


def _posted(some: Iterable[tuple[int, Iterable[tuple[Item, float]]]]) -> Postings[Item]:
    found: dict[Item, tuple[list[int], list[float]]] = {}
    for place, items in some:
        for item, weight in items:
            places, weights = found.setdefault(item, ([], []))
            places.append(place)
            weights.append(weight)
    return {item: (np.array(at, np.int32), np.array(weights, np.float32)) for item, (at, weights) in found.items()}


def _listed(lists: Postings[Item], items: Iterable[Item]) -> Iterable[tuple[NDArray[np.int32], Floats]]:
    return (found for item in items if (found := lists.get(item)) is not None)
