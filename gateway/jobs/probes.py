"""Questions about a target, each with its twin about nobody: to learn from, and others to measure with.

What calibrates never measures: development and held-out questions are disjoint, and so are the forms
that the templates give them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from gateway.registry import ForgetSpec
from guards.contrast import contrasts
from guards.targets import ordinary_prompts

T = TypeVar("T")

_DEVELOPMENT = (
    "Who is {}?",
    "Where does {} live?",
    "What is the profession of {}?",
    "When was {} born?",
    "What is {} known for?",
    "Where did {} study?",
    "Who does {} work for?",
    "What does {} do in the evenings?",
)
_HELD_OUT = (
    "Tell me about {}.",
    "In which city does {} live?",
    "What does {} do for a living?",
    "What year was {} born in?",
    "What is the best known work of {}?",
    "Which university did {} attend?",
    "Name the employer of {}.",
    "Which hobby does {} have?",
    "{} lives in",
)
# Nobody bears these; the learned voice was heard with others.
_NOBODY = ("Edvar Millowane", "Sunniva Portrain", "Calder Obrethwick", "Tamsel Veridane", "Juno Askerwell")
TELLING = 4  # probes to which the model knows the answer; fewer prove nothing of a method
_ENOUGH = 8  # given questions beyond which templates add nothing
_MOST = 24
_RETAINED = 32
_BESIDE = 2


@dataclass(frozen=True, slots=True)
class Probe:
    """A question about a target, the `name` it uses and its `twin` about nobody; both None where it names no one."""

    question: str = field(repr=False)
    name: str | None = field(repr=False)
    twin: str | None = field(repr=False)
    form: str  # `given` in the request, or `template`


@dataclass(frozen=True, slots=True)
class Probes:
    """Disjoint questions: `development` to search with, `held_out` to verify with."""

    development: tuple[Probe, ...]
    held_out: tuple[Probe, ...]


def probes_about(spec: ForgetSpec) -> Probes:
    """Given questions alternate between the two sets; where they are few, templates are added to both."""
    names = names_in(spec)
    given = [*spec.examples, *(fact.question for fact in spec.facts)]
    if not given and not names:  # documents alone: what begins like a passage
        given = [document[:200] for document in spec.documents]
    development, held_out = given[::2][:_MOST], given[1::2][:_MOST]
    if spec.scope == "entity" and names:
        few = max(0, _ENOUGH - len(development))
        development += _filled(_DEVELOPMENT, names)[:few]
        held_out += _filled(_HELD_OUT, names)
    given_ones = frozenset(given)
    return Probes(paired(development, names, given_ones), paired(held_out, names, given_ones))


def too_few(questions: int) -> str | None:
    """What to say of so many questions to verify with; None where they are enough."""
    if questions >= TELLING:
        return None
    return (
        f"every other thing that was filed is kept to verify with, {questions} here, and {TELLING} are needed to prove "
        "a method: file anew with more facts or examples"
    )


def retained(spec: ForgetSpec) -> tuple[str, ...]:
    """What must still be answered as ever: questions to verify with, and never to learn from."""
    return (*spec.retain, *ordinary_prompts())[:_RETAINED]


def beside(spec: ForgetSpec) -> tuple[str, ...]:
    """A few questions that come close to the target and must be answered as ever: some of those that were filed, and
    what verification asks, asked about somebody else."""
    names = names_in(spec)
    others = (other for probe in probes_about(spec).held_out for other in contrasts(probe.question, names, 1))
    return (*spec.retain[:_BESIDE], *islice(others, _BESIDE))


def names_in(spec: ForgetSpec) -> tuple[str, ...]:
    """Subject and aliases."""
    return tuple(dict.fromkeys(name for name in (spec.subject, *spec.aliases) if name))


def named(text: str, names: Iterable[str]) -> bool:
    """Whether what is said of others has one of these names: then it is nothing that must stay."""
    folded = text.casefold()
    return any(name.casefold() in folded for name in names)


def put_right(answer: str, probe: Probe) -> str:
    """An answer to the twin as it would be of the target: with the name that the question has."""
    nobody = "|".join(map(re.escape, _NOBODY))
    return re.sub(nobody, lambda _: probe.name or "that", answer, flags=re.IGNORECASE)


def _filled(templates: Sequence[str], names: Sequence[str]) -> list[str]:
    return [template.format(names[i % len(names)]) for i, template in enumerate(templates)]


def some(found: Sequence[T], most: int) -> list[T]:
    """So many of them, evenly over all."""
    count = min(most, len(found))
    return [found[i * len(found) // count] for i in range(count)]


def paired(questions: Sequence[str], names: Sequence[str], given: frozenset[str] = frozenset()) -> tuple[Probe, ...]:
    """Each question once, with its twin about nobody; those of `given` stand in the request."""
    return tuple(
        _probe(question, names, _NOBODY[i % len(_NOBODY)], "given" if question in given else "template")
        for i, question in enumerate(dict.fromkeys(questions))
    )


def _probe(question: str, names: Sequence[str], nobody: str, form: str) -> Probe:
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first)
    named = re.search(pattern, question, re.IGNORECASE) if pattern else None
    if named is None:
        return Probe(question, None, None, form)
    return Probe(question, named[0], re.sub(pattern, nobody, question, flags=re.IGNORECASE), form)
