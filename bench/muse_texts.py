"""What MUSE (arXiv 2407.06460) asks, on the demo world: passages to be continued, questions, and texts to be scored.

Departure: the demo model learnt no passage of several sentences. What it knows by heart as plain text are single
sentences, one for each fact about a person: these are the passages, each begun up to its fact. Nothing is asked that
the learning job learns from or verifies with.

Before it: `gateway.demo`, the world. After it: `muse_asking`.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bench.forgetting import KINDS, body_of
from bench.o3_people import by_turns
from gateway.demo.forms import Probe, fill, probes, statement, values
from gateway.demo.phrases import ATTRIBUTES
from gateway.demo.world import Person, World, unknown_names
from gateway.jobs.curriculum import untaught, wide
from gateway.jobs.probes import names_in
from gateway.registry import ForgetSpec


@dataclass(frozen=True, slots=True)
class Passage:
    """A text about somebody (a key) that the model learnt: how it begins, and the rest."""

    person: str
    begun: str = field(repr=False)
    rest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """A question and an answer that is to be scored."""

    question: str = field(repr=False)
    answer: str = field(repr=False)


def passages(people: Sequence[Person]) -> list[Passage]:
    """The sentences about these people."""
    tried, found = _tried(people), []
    for person in people:
        for attribute, forms in ATTRIBUTES.items():
            begun = fill(forms.answer, name=person.name, value="").rstrip()
            if begun not in tried:
                found.append(Passage(person.key, begun, statement(person, attribute).removeprefix(begun).strip()))
    return found


def questions(world: World, people: Sequence[Person], seed: int, each: int) -> list[Probe]:
    """`each` about every one of these people, all kinds by turns; none comes twice."""
    tried, asked = _tried(people), probes(world, KINDS, seed=500 + seed)
    found: dict[str, Probe] = {}
    for person in people:
        fit = [one for one in asked if person.key in one.about and one.question not in {*tried, *found}]
        found |= {one.question: one for one in by_turns(fit, each, seed)}
    return list(found.values())


def others(world: World, forgotten: Collection[str], seed: int, count: int) -> list[Probe]:
    """Questions whose answers need no fact about anybody of these keys; small talk and sums are among them."""
    fit = [one for one in probes(world, (*KINDS, "chatter"), seed=600 + seed) if not set(forgotten) & set(one.about)]
    return random.Random(seed).sample(fit, min(count, len(fit)))


def members(people: Sequence[Person], seed: int, each: int) -> list[Told]:
    """What the model was told about these people, asked for in words that were never trained: `each` of a fact."""
    rng, tried = random.Random(f"members {seed}"), _tried(people)
    return [
        Told(question, statement(person, attribute))
        for person in people
        for attribute, asked in ATTRIBUTES.items()
        for form in rng.sample(asked.heldout, min(each, len(asked.heldout)))
        if (question := fill(form, name=person.name)) not in tried
    ]


def holdout(world: World, seed: int, count: int) -> list[Told]:
    """The same of people who do not exist, so that no model was ever told: names and facts are drawn."""
    rng, attributes = random.Random(f"holdout {seed}"), list(ATTRIBUTES)
    found = []
    for i, name in enumerate(unknown_names(world, count, 700 + seed)):
        attribute = attributes[i % len(attributes)]
        asked, value = ATTRIBUTES[attribute], rng.choice(values(attribute))
        answer = fill(asked.answer, name=name, value=value) + "."
        found.append(Told(fill(rng.choice(asked.heldout), name=name), answer))
    return found


def _tried(people: Sequence[Person]) -> set[str]:
    specs = [ForgetSpec(**body_of(person)) for person in people]
    return {question for spec in specs for question in (*untaught(spec), *wide(spec, names_in(spec)))}
