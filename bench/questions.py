"""What a benchmark of the demo world asks when people of it are forgotten: about them, and about everybody else.

A question is about somebody when its answer needs a fact about them: two hops that end there, and the question who
wrote a book, count.
"""

import random
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Self

from bench.people import KINDS, body_of
from bench.tried import tried
from gateway.demo.forms import Probe, probes
from gateway.demo.world import Person, World


@dataclass(frozen=True, slots=True)
class Questions:
    """Of one set of people.

    Attributes:
        about: those who are filed, in words that no learning job learns from or verifies with.
        others: everybody else, and chatter.
    """

    about: Sequence[Probe]
    others: Sequence[Probe]

    @classmethod
    def of(
        cls, world: World, people: Sequence[Person], filed: Sequence[Person], seed: int, others: int | None, method: str
    ) -> Self:
        """Nothing about those whom the retain model never met (`people`) and who are not filed by `method`.

        Args:
            others: how many questions about everybody else; None for all.
        """
        keys, own = {person.key for person in people}, {person.key for person in filed}
        asked = probes(world, KINDS, seed=100 + seed)
        never = tried(body_of(person) | {"method": method} for person in filed)
        about = [one for one in asked if set() < keys & set(one.about) <= own and one.question not in never]
        rest = about_others(world, asked, keys)
        return cls(about, rest if others is None else random.Random(seed).sample(rest, others))


def about_others(world: World, asked: Sequence[Probe], keys: Set[str]) -> list[Probe]:
    """Those that need no fact about any of these people, and chatter."""
    return [probe for probe in asked if keys.isdisjoint(probe.about)] + list(probes(world, ("chatter",)))
