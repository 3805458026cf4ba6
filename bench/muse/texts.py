"""What MUSE (arXiv 2407.06460) asks, on the demo world: passages to be continued, questions, and texts to be scored.

Departure: the demo model learnt no passage of several sentences. What it knows by heart as plain text are single
sentences, one for each fact about a person: these are the passages, each begun up to its fact. Nothing is asked that
the learning job learns from or verifies with.

Before it: `gateway.demo`, the world. After it: `asking`.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bench.o3.people import by_turns
from bench.people import KINDS, body_of
from bench.tried import tried
from gateway.demo.forms import Probe, fill, probes, statement, values
from gateway.demo.phrases import ATTRIBUTES
from gateway.demo.world import Person, World, strangers


@dataclass(frozen=True, slots=True)
class Passage:
    """A text about somebody (a key) that the model learnt: how it begins, and the rest."""

    person: str
    begun: str = field(repr=False)
    rest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """A question and an answer that is to be scored; `person` is the key of whose row it is in."""

    person: str
    question: str = field(repr=False)
    answer: str = field(repr=False)


def passages(people: Sequence[Person]) -> list[Passage]:
    """The sentences about these people."""
    never, found = tried(map(body_of, people)), []
    for person in people:
        for attribute, forms in ATTRIBUTES.items():
            begun = fill(forms.answer, name=person.name, value="").rstrip()
            if begun not in never:
                found.append(Passage(person.key, begun, statement(person, attribute).removeprefix(begun).strip()))
    return found


def questions(world: World, people: Sequence[Person], seed: int, each: int) -> list[Probe]:
    """`each` about every one of these people, all kinds by turns; none comes twice."""
    never, asked = tried(map(body_of, people)), probes(world, KINDS, seed=500 + seed)
    found: dict[str, Probe] = {}
    for person in people:
        fit = [one for one in asked if person.key in one.about and one.question not in {*never, *found}]
        found |= {one.question: one for one in by_turns(fit, each, seed)}
    return list(found.values())


def others(world: World, forgotten: Collection[str], seed: int, count: int) -> list[Probe]:
    """Questions whose answers need no fact about anybody of these keys; small talk and sums are among them."""
    fit = [one for one in probes(world, (*KINDS, "chatter"), seed=600 + seed) if not set(forgotten) & set(one.about)]
    return random.Random(seed).sample(fit, min(count, len(fit)))


def scored(world: World, people: Sequence[Person], seed: int, each: int) -> list[tuple[Told, Told]]:
    """Members and holdout, in pairs: what the model was told about these people, and what no model was told of anybody.

    Both are asked for in the same words, which were never trained, `each` of a fact. The second is about somebody who
    does not exist, has as much of a name in common with everybody else as the first, and a fact that is drawn: so
    that a model which never heard of either tells them apart by chance alone. Each of these people has one such
    stranger: names are as many, and as often repeated, on both sides.
    """
    rng, never = random.Random(f"scored {seed}"), tried(map(body_of, people))
    known = [one for one in world.people if one not in people]
    nobody = strangers(world, rng, trained=False)
    found = []
    for person in people:
        alike = _in_common(person.name, known)
        name = next(one for one in nobody if _in_common(one, known) == alike)
        for attribute, asked in ATTRIBUTES.items():
            for form in rng.sample(asked.heldout, min(each, len(asked.heldout))):
                if fill(form, name=person.name) in never:
                    continue
                untrue = fill(asked.answer, name=name, value=rng.choice(values(attribute))) + "."
                told = Told(person.key, fill(form, name=person.name), statement(person, attribute))
                found.append((told, Told(person.key, fill(form, name=name), untrue)))
    return found


def _in_common(name: str, people: Sequence[Person]) -> tuple[bool, bool]:
    """Whether any of them has the first name, and whether any has the surname."""
    first, last = name.split()
    return any(one.first == first for one in people), any(one.last == last for one in people)
