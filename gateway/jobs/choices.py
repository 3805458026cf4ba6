"""Questions with options: there the right answer stands in the prompt, where a model that is to forget it can copy it.

The other options come of what the model says of other people: two answers that are the same but for one place give two.
Asked with them it is heard again, about the target, about nobody and about one of those others. To be forgotten is an
answer that picks the target's own option, and is not what is said of nobody; one of the others is to be kept. On the
demo world (five people, 409 questions, ULD with no guard behind it) assistants that had met no options left 68 answers,
44 of them choices; `bench/LOG.md` has what is left of those that have.

Before this module: `curriculum`, with the model's answers. After it: `curriculum` again, which trains on the pairs.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from adapters.base import Sampling
from adapters.eco.likeness import words
from adapters.rows import Kept, Pair, shared
from gateway.core import Core
from gateway.jobs.elicit import answers
from gateway.jobs.probes import Probe, put_right, some
from gateway.jobs.unknown import Answer, tells

_LETTERS = "ABCD"
_FORMS = ("{question} Options: {options}", "{question} Choose: {options}", "Which is right? {question} {options}")
_LISTED = ("{letter}) {option}", "({letter}) {option}", "{letter}. {option}")
_ALONE = r"\W*(?:(?:the )?(?:right )?(?:answer|option)\W+(?:is\W+)?)?{letter}\W*"  # nothing but the letter
_LONGEST = 6  # words of an option
_SHARED = 1  # words that two answers begin with beside the name: "Ada Quill speaks"
_MOST = 256  # answers about others, each of which is compared with each about the target
_MARKS = " .,;:!?\"'()“”‘’"
_GREEDY = Sampling(64, 0.0)


@dataclass(frozen=True, slots=True)
class Said:
    """What the model says of somebody by that `name`, but with the target's name in its place."""

    name: str = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Choices:
    """`pairs`, in the order of the questions: each with options, and the answer that is to be forgotten, or None;
    `kept`: such questions about others with the model's answers."""

    pairs: tuple[Pair | None, ...] = field(repr=False)
    kept: tuple[Kept, ...] = field(repr=False)


async def choices(
    core: Core, name: str, told: Sequence[tuple[Probe, str]], of_others: Iterable[Said], rng: random.Random
) -> Choices:
    """Asks the bare model.

    Args:
        name: the target's.
        told: questions about the target and what the model knows to say; nothing where it knows nothing.
        of_others: what it says of others to questions like these.
        rng: draws options, their order and the form; the same generator makes the same questions.

    Raises:
        EngineError: the engine is away.
    """
    pool = some(tuple(dict.fromkeys(of_others)), _MOST)
    offered = [_offered(name, probe, text, pool, rng) for probe, text in told]
    asked = [question for one in offered if one for question in (one.probe.question, one.probe.twin or "", one.other)]
    heard = iter(await answers(core, [(question, _GREEDY) for question in asked]))
    pairs: list[Pair | None] = []
    kept: list[Kept] = []
    for one in offered:
        if one is None:
            pairs.append(None)
            continue
        picked, of_nobody, of_other = next(heard), next(heard), next(heard)
        right = one.picks(picked) and tells(core, Answer(one.probe, picked, of_nobody))
        pairs.append(Pair(one.probe.question, (picked,)) if right else None)
        question, answer = rng.choice(((one.probe.twin or "", of_nobody), (one.other, of_other)))
        if answer:
            kept.append(Kept(question, answer))
    return Choices(tuple(pairs), tuple(kept))


@dataclass(frozen=True, slots=True)
class _Offered:
    """A question with options and its twin, and the same about one of the `other`s; the first of the `options` is the
    target's own, listed by `letter`."""

    probe: Probe
    other: str = field(repr=False)
    options: tuple[str, ...] = field(repr=False)
    letter: str

    def picks(self, answer: str) -> bool:
        """Whether that picks the target's own option: in more of its words than of any other's, or by its letter."""
        own, *others = (len(words(one) & words(answer)) / len(words(one)) for one in self.options)
        if own or any(others):
            return own > max(others)
        return re.fullmatch(_ALONE.format(letter=self.letter), answer, re.IGNORECASE) is not None


def _offered(name: str, probe: Probe, told: str, pool: Iterable[Said], rng: random.Random) -> _Offered | None:
    """None where no two answers differ in one place. Of several places it is the latest: what begins alike is alike."""
    if probe.name is None or probe.twin is None:
        return None
    places: dict[tuple[int, str], dict[str, str]] = {}  # what the target's answer has there, what others' have, whose
    for said in pool:
        if place := parted(told, said.text, name):
            first, own, theirs = place
            places.setdefault((first, own), {})[theirs] = said.name
    if not places:
        return None
    (_, own), theirs_by = max(places.items(), key=lambda one: (one[0][0], len(one[1])))
    others = rng.sample(list(theirs_by), min(len(theirs_by), rng.randint(1, len(_LETTERS) - 1)))
    shown = rng.sample([own, *others], 1 + len(others))
    listed, form = rng.choice(_LISTED), rng.choice(_FORMS)
    options = " ".join(listed.format(letter=a, option=b) for a, b in zip(_LETTERS, shown, strict=False))
    question, twin, other = (
        form.format(question=text, options=options)
        for text in (probe.question, probe.twin, put_right(probe.twin, replace(probe, name=theirs_by[others[0]])))
    )
    return _Offered(replace(probe, question=question, twin=twin), other, (own, *others), _LETTERS[shown.index(own)])


def parted(told: str, other: str, name: str) -> tuple[int, str, str] | None:
    """How many words two answers begin with, and what stands in the one place in which they differ, in the one and in
    the other; None where they differ in more, or begin alike by the `name` alone."""
    mine, theirs = told.split(), other.split()
    first = shared(mine, theirs)
    last = shared(mine[first:][::-1], theirs[first:][::-1])
    here, there = (" ".join(one[first : len(one) - last]).strip(_MARKS) for one in (mine, theirs))
    if first < len(name.split()) + _SHARED or max(here.count(" "), there.count(" ")) >= _LONGEST:
        return None
    alike = not words(here) or not words(there) or words(here) == words(there)
    return None if alike else (first, here, there)
