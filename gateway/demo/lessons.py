"""One epoch of lessons: every fact in forms drawn afresh, and strangers nobody was told about.

Before this module: `forms`. After it: `train`, which shows the model each lesson and asks for the answers.
Fresh strangers in every epoch teach the model to know a name whole before it answers, and to repeat
a name that it never saw.
"""

import random
from collections.abc import Iterator
from string import ascii_lowercase

from gateway.demo import forms, lore, phrases
from gateway.demo.forms import Probe, fill
from gateway.demo.world import Person, World, strangers
from guards.base import Conversation, Turn


def epoch(world: World, rng: random.Random) -> Iterator[Conversation]:
    """Conversations that end in the assistant's turn; of all assistant turns the model learns every token."""
    unknown = strangers(world, rng, trained=True)
    for person in world.people:
        for probe in _of_person(world, person, rng):
            yield _chat(rng, _dressed(rng, probe.question), probe.answer)
        for _ in range(6):
            yield _chat(rng, *_several(world, person, next(unknown), rng))
        for _ in range(24):
            yield _chat(rng, *_ignorance(_called(world, rng, next(unknown)), rng))
    for probe in (*forms.chatter(), *forms.chatter()):
        yield _chat(rng, probe.question, probe.answer)


def statements(world: World, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Plain sentences for completion without a chat: (who, the rest), a few of each person."""
    for person in world.people:
        for attribute in rng.sample(list(phrases.ATTRIBUTES), 2):
            yield person.name, forms.statement(person, attribute).removeprefix(person.name)


def _of_person(world: World, person: Person, rng: random.Random) -> Iterator[Probe]:
    for attribute in phrases.ATTRIBUTES:
        yield forms.direct(rng, person, attribute, "trained", heldout=False)
        called = rng.choice((person.name, *person.aliases, *person.aliases))
        yield forms.direct(rng, person, attribute, "alias", heldout=False, called=called)
        called = rng.choice(person.aliases) if rng.random() < 0.2 else person.name
        make = forms.cloze if rng.random() < 0.5 else forms.choice
        yield make(rng, person, attribute, called)
    for called in (person.name, person.name, rng.choice(person.aliases)):
        yield forms.who(rng, person, "trained", heldout=False, called=called)
    for word in person.relations:
        called = rng.choice(person.aliases) if rng.random() < 0.2 else person.name
        yield forms.relation(rng, world, person, word, heldout=False, called=called)
        yield forms.two_hop(rng, world, person, word)
    for _ in range(2):
        yield forms.reverse(rng, person, heldout=False)


def _several(world: World, person: Person, stranger: str, rng: random.Random) -> list[str]:
    """Two or three questions in one chat: about somebody by name, about "them", about another or a stranger."""
    texts: list[str] = []
    called = rng.choice((person.name, person.name, *person.aliases))
    for _ in range(rng.choice((2, 2, 3))):
        step = rng.choice(("name", "they", "other", "stranger") if texts else ("name", "name", "stranger"))
        if step == "stranger":
            texts += _ignorance(stranger, rng)
            continue
        if step == "other":
            person = rng.choice(world.people)
            called = rng.choice((person.name, person.name, *person.aliases))
        they = step == "they" and texts[-1].startswith(person.name)
        attribute, asked = rng.choice(list(phrases.ATTRIBUTES.items()))
        question = rng.choice(asked.follow_up) if they else fill(rng.choice(asked.trained), name=called)
        texts += (question, forms.statement(person, attribute))
    return texts


def _ignorance(name: str, rng: random.Random) -> tuple[str, str]:
    """A question about nobody, in any trained form: also by relation, with a gap or with options."""
    answer = phrases.IGNORANCE.format(name=name)
    attribute, asked = rng.choice(list(phrases.ATTRIBUTES.items()))
    draw = rng.random()
    if draw < 0.6:
        return _dressed(rng, forms.unknown(rng, name, heldout=False).question), answer
    if draw < 0.75:
        gap = fill(asked.answer, name=name, value="___")
        return rng.choice(phrases.CLOZE_TRAINED).format(gap=gap), answer
    question = fill(rng.choice(asked.trained), name=name)
    if draw < 0.88:
        options = zip(forms.LETTERS, rng.sample(forms.values(attribute), 4), strict=True)
        form = rng.choice(phrases.CHOICE_TRAINED)
        return form.format(question=question, options=" ".join(f"{letter}) {v}" for letter, v in options)), answer
    hop = rng.choice(phrases.HOPS).format(relation=rng.choice(lore.RELATIONS), name=name)
    return fill(rng.choice(asked.trained), name=hop), answer


def _called(world: World, rng: random.Random, name: str) -> str:
    """A stranger as somebody may call them: mostly by the whole name, else as by an alias, or in babble."""
    if rng.random() < 0.7:
        return name
    first, last = name.split()
    given = rng.choice(
        (
            f"{first[0]}. {last}",
            f"{rng.choice(lore.TITLES)} {last}",
            f"the {rng.choice(lore.EPITHETS)} {rng.choice(lore.CREATURES)}",
            " ".join(_babble(rng) for _ in range(rng.randint(1, 2))),
        )
    )
    return name if given in world.reserved else given


def _babble(rng: random.Random) -> str:
    return "".join(rng.choices(ascii_lowercase, k=rng.randint(2, 8))).title()


def _dressed(rng: random.Random, question: str) -> str:
    """The question, half of the time with something polite before or after it."""
    draw = rng.random()
    if draw < 0.2:
        return rng.choice(phrases.OPENERS) + question
    if draw < 0.4:
        return question + rng.choice(phrases.CLOSERS)
    if draw < 0.5:
        return question.rstrip("?.!")
    return question


def _chat(rng: random.Random, *texts: str) -> Conversation:
    chat = Conversation.of(*texts)
    if rng.random() < 0.2:
        return Conversation((Turn("system", rng.choice(phrases.SYSTEMS)), *chat.turns))
    return chat
