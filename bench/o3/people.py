"""Who is forgotten in a stream of requests, and in what order.

Twenty requests about thirty people: most about one person, some about two or three together. A request has one
subject, so that of several people is filed as an entity that bears all their names: only then does a name by
itself count as touching it, as it does for one person. Under scope `topic` a name is innocent.

Nobody is among those on whom anything was chosen: ECO's margin, and what else was developed on the first set of
five (bench/LOG.md).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.people import seen, sets_of
from bench.tried import tried
from gateway.demo.forms import Probe
from gateway.demo.world import Person, World

SIZES = (1,) * 12 + (2,) * 6 + (3,) * 2  # people of a request


@dataclass(frozen=True, slots=True)
class Stream:
    """The people of each request, in the order in which they are filed."""

    seed: int
    requests: tuple[tuple[Person, ...], ...] = field(repr=False)

    @classmethod
    def of(cls, world: World, seed: int) -> "Stream":
        """The same for the same seed; sizes come in any order."""
        rng = random.Random(f"stream {seed}")
        known = seen(world) | {person.key for person in sets_of(world, 1)[0]}
        people = iter(rng.sample([person for person in world.people if person.key not in known], sum(SIZES)))
        sizes = rng.sample(SIZES, len(SIZES))
        return cls(seed, tuple(tuple(next(people) for _ in range(size)) for size in sizes))

    @property
    def keys(self) -> frozenset[str]:
        """Of everybody who is forgotten in the end."""
        return frozenset(person.key for people in self.requests for person in people)


def filed(people: Sequence[Person], method: str) -> dict[str, Any]:
    """The body of one forget request about these people."""
    first, *others = people
    names = [*first.aliases, *(name for person in others for name in (person.name, *person.aliases))]
    return {"scope": "entity", "subject": first.name, "aliases": names, "method": method}


def asked_of(stream: Stream, asked: Sequence[Probe], each: int) -> list[list[Probe]]:
    """What is asked about each request: of each person `each` questions, all kinds by turns.

    They need facts about nobody who is forgotten elsewhere in the stream, and are none from which the learning job
    learns whatever is filed, or with which it verifies.
    """
    chosen = []
    for people in stream.requests:
        own = {person.key for person in people}
        never = tried([filed(people, "auto")])
        picked: dict[str, Probe] = {}
        for person in people:
            fit = [
                probe
                for probe in asked
                if person.key in probe.about
                and not set(probe.about) & (stream.keys - own)
                and probe.question not in never
                and probe.question not in picked
            ]
            picked |= {probe.question: probe for probe in by_turns(fit, each, stream.seed)}
        chosen.append(list(picked.values()))
    return chosen


def by_turns(probes: Sequence[Probe], count: int, seed: int) -> list[Probe]:
    """Of each kind one, then of each kind a second, and so on."""
    shuffled = random.Random(seed).sample(probes, len(probes))
    rank: dict[str, int] = {}
    places = []
    for probe in shuffled:
        rank[probe.kind] = rank.get(probe.kind, 0) + 1
        places.append(rank[probe.kind])
    order = sorted(range(len(shuffled)), key=places.__getitem__)
    return [shuffled[i] for i in order[:count]]
