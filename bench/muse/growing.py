"""MUSE's last two ways (arXiv 2407.06460): does forgetting hold as more is forgotten, and again and again?

People are filed in groups, one group after another; after each, everybody who is forgotten by then is asked about,
and so is what needs no fact about anybody who ever will be.

    scalability      groups until 5, 20, 40 and 80 % of all people are forgotten: leak of all of them by then
    sustainability   groups of one person: leak of the first after all that followed, and utility after each

Leak is measured against a model that never heard of thirty of them (those of `bench.o3.people`'s streams): of others,
who make up 80 %, nothing is asked.

Before it: `asking`. After it: `run`.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from typing import Any

from bench.counted import between
from bench.muse.asking import Served
from bench.muse.texts import others, questions
from bench.o3.matrix import Matrix
from bench.o3.people import Stream
from bench.people import body_of
from gateway.demo.forms import Probe
from gateway.demo.world import Person, World

SHARES = (0.05, 0.2, 0.4, 0.8)

Groups = Sequence[Sequence[Person]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is filed, group by group, what is asked about each group, and what about nobody who is filed."""

    seed: int
    groups: Groups = field(repr=False)
    about: Sequence[Sequence[Probe]] = field(repr=False)
    others: Sequence[Probe] = field(repr=False)

    @classmethod
    def of(cls, world: World, stream: Stream, groups: Groups, each: int, count: int) -> "Plan":
        """`each` questions about everybody of the stream, `count` others."""
        keys = {person.key for group in groups for person in group}
        found: dict[str, None] = {}
        about = []
        for group in groups:
            own = [person for person in group if person.key in stream.keys]
            fresh = [one for one in questions(world, own, stream.seed, each) if one.question not in found]
            found |= dict.fromkeys(one.question for one in fresh)
            about.append(fresh)
        return cls(stream.seed, groups, about, others(world, keys, stream.seed, count))


def shares(world: World, stream: Stream, parts: Sequence[float]) -> Groups:
    """Groups that add up to these shares of all people: first those of the stream, in its order."""
    first = list(chain.from_iterable(stream.requests))
    rest = [person for person in world.people if person.key not in stream.keys]
    order = first + random.Random(f"rest {stream.seed}").sample(rest, len(rest))
    ends = [0, *(round(part * len(order)) for part in parts)]
    return [order[start:end] for start, end in pairwise(ends)]


def singly(stream: Stream, count: int) -> Groups:
    """So many groups of one person of the stream, in its order."""
    return [[person] for person in list(chain.from_iterable(stream.requests))[:count]]


@dataclass(frozen=True, slots=True)
class Grown:
    """One sequence under one method.

    Attributes:
        utility: the share of others' correct answers before and after each group.
        enforced: of each group, what enforced its requests when they came into force.
        answered: after each group, answers by the method that made them: `bench.counted`.
    """

    method: str
    seed: int
    people: tuple[int, ...]
    matrix: Matrix
    utility: tuple[float, ...]
    enforced: tuple[Mapping[str, int], ...]
    answered: tuple[Mapping[str, int], ...]

    @property
    def kept(self) -> list[float]:
        """Utility after each group, as a share of that before all."""
        return [after / self.utility[0] for after in self.utility[1:]]

    @property
    def pooled(self) -> list[float]:
        """After each group, correct answers about all who are forgotten by then, above the retain model's."""
        one = self.matrix
        return [
            sum(one.right[i][t - i] - one.retain[i] for i in range(t + 1)) / sum(one.asked[: t + 1])
            for t in range(len(one.asked))
        ]

    def rows(self, world: int) -> list[dict[str, Any]]:
        """A row a group; `world` is how many people there are."""
        first = self.matrix.leak[0]
        return [
            {
                "row": self.method,
                "seed": self.seed,
                "forgotten": people,
                "share": round(people / world, 3),
                "asked": sum(self.matrix.asked[: t + 1]),
                "leak": round(100 * self.pooled[t], 2),
                "leak_of_first": round(100 * first[t], 2),
                "utility": round(self.kept[t], 4),
                "enforced_by": dict(self.enforced[t]),
                "answered_by": dict(self.answered[t]),
            }
            for t, people in enumerate(self.people)
        ]


async def without(plan: Plan, retain: Served) -> list[int]:
    """How many questions about each group the retain model answers correctly."""
    return [await _right(retain, own) for own in plan.about]


async def grown(method: str, plan: Plan, one: Served, retain: Sequence[int]) -> Grown:
    """Files group after group with a gateway that forgets nobody yet, and asks after each."""
    utility = [await _right(one, plan.others) / len(plan.others)]
    right: list[list[int]] = [[] for _ in plan.groups]
    enforced, made = list[Mapping[str, int]](), list[Mapping[str, int]]()
    for t, group in enumerate(plan.groups):
        enforced.append(await one.forget([body_of(person) | {"method": method} for person in group]))
        before = await one.answered()
        for i in range(t + 1):
            right[i].append(await _right(one, plan.about[i]))
        utility.append(await _right(one, plan.others) / len(plan.others))
        made.append(between(before, await one.answered(), method))
    matrix = Matrix(tuple(map(len, plan.about)), tuple(retain), tuple(map(tuple, right)))
    people = tuple(accumulate(map(len, plan.groups)))
    return Grown(method, plan.seed, people, matrix, tuple(utility), tuple(enforced), tuple(made))


async def _right(one: Served, asked: Sequence[Probe]) -> int:
    said = await one.answers([probe.question for probe in asked])
    return sum(any(answer.tells(probe)) for probe, answer in zip(asked, said, strict=True))
