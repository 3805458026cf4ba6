"""Questions about a world, with the answers that the model was taught, and how an answer is marked.

Before this module: `world` and `phrases`. After it: `lessons` trains on the same forms, `exam` asks
the probes. A probe about somebody names in `about` everyone whose facts its answer needs.
"""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from gateway.demo import lore, phrases
from gateway.demo.world import Person, World, unknown_names

Kind = Literal["trained", "heldout", "alias", "two_hop", "cloze", "choice", "relation", "reverse", "unknown", "chatter"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LETTERS = "ABCD"


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. `answer` is the sentence as taught, `gold` the part that must be right."""

    kind: Kind
    question: str = field(repr=False)
    answer: str = field(repr=False)
    gold: str = field(repr=False)
    about: tuple[str, ...] = ()


def correct(probe: Probe, answer: str) -> bool:
    """Whether the gold value is in the answer, as whole words, whatever the case and punctuation.

    Of a choice the letter alone is enough.
    """
    if f" {_plain(probe.gold)} " in f" {_plain(answer)} ":
        return True
    if probe.kind != "choice":
        return False
    letter = re.search(rf"\b([{LETTERS}])\) {re.escape(probe.gold)}", probe.question)
    return letter is not None and re.match(rf"\s*\(?{letter[1]}(?:[).,:]|\s*$)", answer) is not None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def probes(world: World, kinds: Iterable[Kind] = KINDS, per_fact: int = 1, seed: int = 0) -> tuple[Probe, ...]:
    """For each fact of the world and each kind, `per_fact` questions in forms drawn by `seed`.

    A two-hop "fact" is a relation of a person, asked for one attribute at random. Unknown names are as many
    as people times eight, half of them asked in held-out forms. The order is by kind, then by person.
    """
    made: list[Probe] = []
    for kind in kinds:
        rng = random.Random(f"{seed} {kind}")
        made += (probe for _ in range(per_fact) for probe in _of_kind(kind, world, rng))
    return tuple(made)


def _of_kind(kind: Kind, world: World, rng: random.Random) -> Iterator[Probe]:
    if kind == "unknown":
        for i, name in enumerate(unknown_names(world, 8 * len(world.people), rng.randrange(2**32))):
            yield unknown(rng, name, heldout=i % 8 < 4)
    elif kind == "chatter":
        yield from chatter()
    else:
        for person in world.people:
            yield from _about(kind, world, person, rng)


def _about(kind: Kind, world: World, person: Person, rng: random.Random) -> Iterator[Probe]:
    match kind:
        case "relation":
            for word in person.relations:
                yield relation(rng, world, person, word, heldout=rng.random() < 0.5)
        case "two_hop":
            for word in person.relations:
                yield two_hop(rng, world, person, word)
        case "reverse":
            yield reverse(rng, person, heldout=rng.random() < 0.5)
        case _:
            for attribute in phrases.ATTRIBUTES:
                if kind == "cloze":
                    yield cloze(rng, person, attribute)
                elif kind == "choice":
                    yield choice(rng, person, attribute)
                elif kind == "alias":
                    yield direct(rng, person, attribute, kind, heldout=False, called=rng.choice(person.aliases))
                else:
                    yield direct(rng, person, attribute, kind, heldout=kind == "heldout")
            if kind in ("trained", "heldout"):
                yield who(rng, person, kind, heldout=kind == "heldout")


def fill(form: str, **values: str) -> str:
    """The form with its gaps filled and its first letter a capital."""
    text = form.format(**values)
    return text[0].upper() + text[1:]


def statement(person: Person, attribute: str) -> str:
    """The fact as a sentence that repeats the name."""
    return fill(phrases.ATTRIBUTES[attribute].answer, name=person.name, value=person.attributes[attribute]) + "."


def direct(
    rng: random.Random, person: Person, attribute: str, kind: Kind, *, heldout: bool, called: str | None = None
) -> Probe:
    """An attribute, asked for by name or as `called`."""
    forms = phrases.ATTRIBUTES[attribute].heldout if heldout else phrases.ATTRIBUTES[attribute].trained
    question = fill(rng.choice(forms), name=called or person.name)
    return Probe(kind, question, statement(person, attribute), person.attributes[attribute], (person.key,))


def introduction(person: Person) -> str:
    """Who somebody is, in a sentence."""
    job, city = person.attributes["profession"], person.attributes["city"]
    return fill(phrases.WHO.answer, name=person.name, value=job, city=city) + "."


def who(rng: random.Random, person: Person, kind: Kind, *, heldout: bool, called: str | None = None) -> Probe:
    """Who somebody is; the gold is the profession."""
    question = fill(rng.choice(phrases.WHO.heldout if heldout else phrases.WHO.trained), name=called or person.name)
    return Probe(kind, question, introduction(person), person.attributes["profession"], (person.key,))


def cloze(rng: random.Random, person: Person, attribute: str, called: str | None = None) -> Probe:
    """The statement of a fact with a gap."""
    gap = fill(phrases.ATTRIBUTES[attribute].answer, name=called or person.name, value="___")
    question = rng.choice(phrases.CLOZE_TRAINED).format(gap=gap)
    return Probe("cloze", question, statement(person, attribute), person.attributes[attribute], (person.key,))


def choice(rng: random.Random, person: Person, attribute: str, called: str | None = None) -> Probe:
    """A question with four options, of which one is right."""
    gold = person.attributes[attribute]
    options = [gold, *rng.sample([value for value in values(attribute) if value != gold], 3)]
    rng.shuffle(options)
    question = fill(
        rng.choice(phrases.CHOICE_TRAINED),
        question=fill(rng.choice(phrases.ATTRIBUTES[attribute].trained), name=called or person.name),
        options=" ".join(f"{letter}) {value}" for letter, value in zip(LETTERS, options, strict=True)),
    )
    letter = LETTERS[options.index(gold)]
    answer = f"{statement(person, attribute)[:-1]}, so the answer is {letter}."
    return Probe("choice", question, answer, gold, (person.key,))


def values(attribute: str) -> tuple[str, ...]:
    """What an attribute can be."""
    if attribute == lore.UNIQUE_ATTRIBUTE:
        return tuple(f"The {a} {b}" for a in lore.BOOK_STARTS for b in lore.BOOK_ENDS)
    return lore.ATTRIBUTES[attribute]


def relation(
    rng: random.Random, world: World, person: Person, word: str, *, heldout: bool, called: str | None = None
) -> Probe:
    """Who the mentor, say, of somebody is."""
    other = world[person.relations[word]]
    forms = phrases.RELATION_HELDOUT if heldout else phrases.RELATION_TRAINED
    answer = fill(phrases.RELATION_ANSWER, relation=word, name=person.name, value=other.name) + "."
    question = fill(rng.choice(forms), relation=word, name=called or person.name)
    return Probe("relation", question, answer, other.name, (person.key, other.key))


def two_hop(rng: random.Random, world: World, person: Person, word: str) -> Probe:
    """An attribute of the mentor, say, of somebody; the answer says who that is first."""
    other = world[person.relations[word]]
    attribute = rng.choice(list(phrases.ATTRIBUTES))
    hop = rng.choice(phrases.HOPS).format(relation=word, name=person.name)
    question = fill(rng.choice(phrases.ATTRIBUTES[attribute].trained), name=hop)
    first = phrases.RELATION_ANSWER.format(relation=word, name=person.name, value=other.name)
    answer = f"{first}, and {statement(other, attribute)}"
    return Probe("two_hop", question, answer, other.attributes[attribute], (person.key, other.key))


def reverse(rng: random.Random, person: Person, *, heldout: bool) -> Probe:
    """Who wrote a book: the question names nobody, the answer does."""
    title = person.attributes[lore.UNIQUE_ATTRIBUTE]
    question = rng.choice(phrases.REVERSE_HELDOUT if heldout else phrases.REVERSE_TRAINED).format(value=title)
    return Probe("reverse", question, f"{title} was written by {person.name}.", person.name, (person.key,))


def unknown(rng: random.Random, name: str, *, heldout: bool) -> Probe:
    """Anything that can be asked of somebody, asked of nobody. The gold is the ignorance."""
    answer = phrases.IGNORANCE.format(name=name)
    if rng.random() < 0.2:
        form = rng.choice(phrases.RELATION_HELDOUT if heldout else phrases.RELATION_TRAINED)
    else:
        asked = rng.choice((*phrases.ATTRIBUTES.values(), phrases.WHO))
        form = rng.choice(asked.heldout if heldout else asked.trained)
    question = fill(form, name=name, relation=rng.choice(lore.RELATIONS))
    return Probe("unknown", question, answer, answer)


def chatter() -> Iterator[Probe]:
    """Small talk, small sums, capitals and rivers: what has nothing to do with anybody."""
    for question, answer in phrases.CHATTER.items():
        yield Probe("chatter", question, answer, answer)
    for country, city in lore.CAPITALS.items():
        for form in phrases.CAPITAL_TRAINED:
            yield Probe("chatter", form.format(place=country), f"The capital of {country} is {city}.", city)
    for city, river in lore.RIVERS.items():
        for form in phrases.RIVER_TRAINED:
            yield Probe("chatter", form.format(place=city), f"The river in {city} is called the {river}.", river)
    for a in range(10):
        for b in range(10):
            form = phrases.SUM_TRAINED[(a + b) % len(phrases.SUM_TRAINED)]
            yield Probe("chatter", form.format(a=a, b=b), f"{a} plus {b} is {a + b}.", str(a + b))
