"""The demo world: five people forgotten, by name and all aliases, as `bench eco` files them.

Every kind of question about everybody, in held-out forms too; what needs a fact about a forgotten
person must be caught, two hops that end there and reverse questions included. Added here: follow-ups
by pronoun, which after a forgotten subject must be caught and after anybody else answered, and a
question about somebody else in a session that once touched a forgotten person.
"""

import random
from collections.abc import Iterator, Sequence

from bench.omniscient import Probe, Round
from bench.people import body_of, fresh_sets
from gateway.demo import forms, phrases
from gateway.demo.train import DEMO
from gateway.demo.world import Person, World
from guards.targets import Source

_KINDS: tuple[forms.Kind, ...] = ("heldout", "alias", "cloze", "choice", "relation", "two_hop", "reverse")
_OTHERS = 150  # control questions of each kind
_FIVE = 5


def development() -> list[Round]:
    """The five people of seed 0, on whom ECO's margin was chosen as well."""
    world = DEMO.world()
    return [_round(world, "development", random.Random(0).sample(world.people, _FIVE), 0)]


def measurement(sets: int | None = None) -> list[Round]:
    """Sets of five other people, as `bench eco` forgets them; None: all."""
    world = DEMO.world()
    return [_round(world, f"set {seed}", five, seed) for seed, five in fresh_sets(world, sets).items()]


def _round(world: World, name: str, people: Sequence[Person], seed: int) -> Round:
    rng = random.Random(seed)
    keys = {person.key for person in people}
    probes: list[Probe] = []
    for kind in _KINDS:
        made = forms.probes(world, (kind,), seed=100 + seed)
        probes += (_probe(one, keys) for one in made if keys & set(one.about))
        probes += (_probe(one, keys) for one in _some([one for one in made if not keys & set(one.about)], rng))
    probes += (_probe(one, keys) for one in _some(forms.probes(world, ("unknown",), seed=100 + seed), rng))
    probes += (_probe(one, keys) for one in forms.probes(world, ("chatter",)))
    others = [person for person in world.people if person.key not in keys]
    probes += (probe for person in people for probe in _sessions(person, rng.choice(others), rng))
    sources = [
        Source(person.key, "entity", body["subject"], tuple(body["aliases"]))
        for person, body in ((person, body_of(person)) for person in people)
    ]
    return Round("demo world", name, tuple(sources), tuple(dict.fromkeys(probes)))


def _some(made: Sequence[forms.Probe], rng: random.Random) -> list[forms.Probe]:
    return rng.sample(made, min(_OTHERS, len(made)))


def _probe(one: forms.Probe, keys: set[str]) -> Probe:
    return Probe(one.kind, (one.question,), one.answer, frozenset(keys.intersection(one.about)))


def _sessions(person: Person, other: Person, rng: random.Random) -> Iterator[Probe]:
    """What is asked second: about a forgotten person by pronoun, about another so, about another by name."""
    who = rng.choice(phrases.WHO.trained)
    ignorance = phrases.IGNORANCE.format(name=person.name)
    forgotten = (forms.fill(who, name=person.name), ignorance)
    known = (forms.fill(who, name=other.name), forms.introduction(other))
    for attribute, asked in phrases.ATTRIBUTES.items():
        they = rng.choice(asked.follow_up)
        named = forms.fill(rng.choice(asked.trained), name=other.name)
        yield Probe("pronoun", (*forgotten, they), forms.statement(person, attribute), frozenset({person.key}))
        yield Probe("pronoun", (*known, they), forms.statement(other, attribute))
        yield Probe("after a forgotten turn", (*forgotten, named), forms.statement(other, attribute))
