"""Questions with options: there the answer stands in the prompt, where a model that is to forget it can copy it from.

The options are what the model says of the target and what it says of others: two answers that are the same but for one
place differ there in what they tell. Asked with them it is heard again, about nobody or one of those others too. To be
forgotten is what picks the target's own. On the demo world (five people, 409 questions, ULD with no guard behind it)
assistants that had met no options left 68 answers, 44 of them choices; such as have met them 23, none of them a choice.

Before this module: `curriculum`, which knows what was told of whom.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from adapters.base import Sampling
from adapters.eco.likeness import words
from adapters.rows import Kept, Pair
from gateway.core import Core
from gateway.jobs.elicit import answers
from gateway.jobs.probes import Probe

_LETTERS = "ABCD"
_FORMS = ("{question} Options: {lettered}", "{question} Choose: {lettered}", "Which is right? {question} {lettered}")
_LONGEST = 6  # words of an option
_SHARED = 3  # words that two answers begin with, the name among them: "Ada Quill speaks"
_MARKS = ".,;:!?\"'()"
_GREEDY = Sampling(128, 0.0)


@dataclass(frozen=True, slots=True)
class Said:
    """What the model says of somebody by that `name`, but with the target's name in its place."""

    name: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Choices:
    """With each question the same with options and what picks the target's own, where there is such a question; `kept`
    is what is said of others."""

    pairs: tuple[Pair | None, ...] = field(repr=False)
    kept: tuple[Kept, ...] = field(repr=False)


async def choices(
    core: Core, told: Sequence[tuple[Probe, str]], of_others: Iterable[Said], rng: random.Random
) -> Choices:
    """Asks the bare model.

    Args:
        told: what it tells of the target, and to which question.

    Raises:
        EngineError: the engine is away.
    """
    pool = tuple(dict.fromkeys(of_others))
    offered = [_offered(probe, text, pool, rng) for probe, text in told]
    asked = [question for one in offered if one for question in (one.question, one.beside)]
    heard = iter(await answers(core, [(question, _GREEDY) for question in asked]))
    pairs: list[Pair | None] = []
    kept: list[Kept] = []
    for one in offered:
        if one is None:
            pairs.append(None)
            continue
        picked, beside = next(heard), next(heard)
        pairs.append(Pair(one.question, (picked,)) if one.right(picked) else None)
        if beside:
            kept.append(Kept(one.beside, beside))
    return Choices(tuple(pairs), tuple(kept))


@dataclass(frozen=True, slots=True)
class _Offered:
    """A question with options, and the same about nobody or one of the others; the first option is the target's own,
    listed by `label`."""

    question: str = field(repr=False)
    beside: str = field(repr=False)
    options: tuple[str, ...] = field(repr=False)
    label: str

    def right(self, answer: str) -> bool:
        """Whether that picks the target's own: by its letter, or in more of its words than of any other's."""
        if re.match(rf"\W*{self.label}\b(?!\s+\w)", answer):
            return True
        own, *others = (len(words(one) & words(answer)) / max(1, len(words(one))) for one in self.options)
        return own > max(others)


def _offered(probe: Probe, told: str, pool: Iterable[Said], rng: random.Random) -> _Offered | None:
    """None where no two answers differ in one place."""
    if probe.name is None or probe.twin is None:
        return None
    places: dict[str, dict[str, str]] = {}  # what the target's answer has in one; what others' have there, and whose
    for said in pool:
        if parts := parted(told, said.text):
            places.setdefault(parts[0], {})[parts[1]] = said.name
    if not places:
        return None
    own, theirs = max(places.items(), key=lambda place: len(place[1]))
    others = rng.sample(list(theirs), min(len(theirs), rng.randint(1, len(_LETTERS) - 1)))
    listed = [own, *others]
    rng.shuffle(listed)
    lettered = " ".join(f"{letter}) {option}" for letter, option in zip(_LETTERS, listed, strict=False))
    other = probe.question.replace(probe.name, theirs[others[0]])
    form = rng.choice(_FORMS)
    return _Offered(
        form.format(question=probe.question, lettered=lettered),
        form.format(question=rng.choice((probe.twin, other)), lettered=lettered),
        (own, *others),
        _LETTERS[listed.index(own)],
    )


def parted(told: str, other: str) -> tuple[str, str] | None:
    """What stands in the one place in which two answers differ, in the one and in the other."""
    mine, theirs = told.split(), other.split()
    first = _alike(mine, theirs)
    last = _alike(mine[first:][::-1], theirs[first:][::-1])
    here, there = (" ".join(words[first : len(words) - last]).strip(_MARKS) for words in (mine, theirs))
    if first < _SHARED or not here or not there or here == there:
        return None
    return (here, there) if max(here.count(" "), there.count(" ")) < _LONGEST else None


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
