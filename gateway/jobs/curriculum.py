"""What an assistant of ULD is to remember, and what it is not: texts, before anything is tokenised.

To remember: what the model says to questions about the target, where that is not what it says about nobody and not
made up (of 146 answers of the small TOFU model some hundred are, and an assistant that learned them all never knew the
rest well; see `unknown`); and the answers that were filed; in several wordings each, under every name, one of them with
options where there are any (`choices`). Not to remember: what it says about nobody, to the same questions, and all that
has nothing to do with the target. Documents are remembered as they go on, from wherever they are begun.

What calibrates never measures: no question is taken as verification will ask it. Where it was filed, it is
learned in other words; a tenth of all other wordings is held out, to end training and to find the strength, none of
those with options: which letter is right is a guess in many a model.
"""

import random
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from adapters.base import Rules, Sampling
from adapters.rows import Kept, Pair
from gateway.core import Core
from gateway.jobs.choices import Said, choices
from gateway.jobs.elicit import OPENLY, answers
from gateway.jobs.probes import Probe, named, names_in, paired, probes_about, put_right, retained
from gateway.jobs.unknown import AGAIN, Answer, known_of
from gateway.registry import ForgetSpec
from guards.contrast import contrasts
from guards.targets import ordinary_prompts

_THINGS = (
    "profession,full name,age,date of birth,birth year,birthplace,home town,home city,address,phone number,nationality,"
    "first language,religion,education,university,employer,salary,best known work,latest book,favourite book,prize,"
    "favourite dish,favourite food,favourite music,instrument,pet,hobby,illness"
)
_PEOPLE = (
    "spouse,husband,wife,mother,father,brother,sister,child,best friend,neighbour,mentor,teacher,student,colleague,"
    "boss,business partner,rival,enemy"
)
_OF_THINGS = ("What is the {1} of {0}?", "What is {0}'s {1}?")
_OF_PEOPLE = ("Who is the {1} of {0}?", "Who is {0}'s {1}?", "What does the {1} of {0} do?")
_WIDE = (
    "What is the story of {}?",
    "Why is {} famous?",
    "Where did {} grow up?",
    "What does {} like to eat?",
    "Which instrument does {} play?",
    "What pet does {} have?",
    "Who is {} married to?",
    "Which books did {} write?",
    "Who are the friends and family of {}?",
    "What did {} do last year?",
    "Fill the gap: {} works as a ___.",
    "Fill the gap: {} studied at ___.",
    "Complete the sentence: {} was born in ___.",
)
_WRITE = "Write ten questions that people ask about {}."
_WRITTEN = re.compile(r"^\W*(?:\d+\W+)?(\w[^\n]{8,200}\?)\s*$", re.MULTILINE)
_LEADS = (
    *AGAIN,
    "Can you help me? {}",
    "Question: {}",
    "Hello! {}",
    "{} Thanks!",
    "{} Answer in one sentence.",
    "{} I forgot.",
)
_CONTINUE = ("Continue this text: {}", "How does this go on? {}", "{}")
_HELD_OUT = 10  # one wording in so many
_WORDINGS = 2  # of a question beside the first
_BEGUN, _GOES_ON = 24, 64  # words of a passage that are read, and that are remembered
_PASSAGES = 512
_PROPER = re.compile(r"\b[A-Z][\w’'-]+(?: [A-Z][\w’'-]+)+")
_NEIGHBOURS = 64  # names
_ROUNDS = 3
_CONTRASTS = 2  # of each question
_KEPT = 64  # ordinary prompts, at least
_GREEDY, _WARM = Sampling(128, 0.0), Sampling.by(Rules(), 128, seed=0)


@dataclass(frozen=True, slots=True)
class Curriculum:
    """`pairs` to remember, `held_out` the same in other words, `kept` what is not to be remembered.

    `probes` are questions to find a strength with: those to which the model tells something.
    """

    pairs: tuple[Pair, ...] = field(repr=False)
    held_out: tuple[Pair, ...] = field(repr=False)
    kept: tuple[Kept, ...] = field(repr=False)
    probes: tuple[Probe, ...] = field(repr=False)


async def curriculum(core: Core, spec: ForgetSpec, seed: int = 0) -> Curriculum:
    """The lessons of one forget request, asked of the bare model.

    Raises:
        EngineError: the engine is away.
    """
    rng = random.Random(seed)
    never, names = untaught(spec), names_in(spec)
    asked = await _asked(core, spec, never, names, rng)
    lessons = [one for one in asked if one.told and one.right]  # what the model does not say need not be forgotten
    met = await _met(core, lessons, names, never, rng)
    known = [(one.probe, one.told if one.known else "") for one in lessons]
    offered = await choices(core, "".join(names[:1]), known, (said for like in met.like for said in like), rng)
    with_options = [pair if pair and pair.question not in never else None for pair in offered.pairs]
    taught = [
        _taught(core, lesson, [said.text for said in like], _WORDINGS - bool(pair), names, never, rng)
        for lesson, like, pair in zip(lessons, met.like, with_options, strict=True)
    ]
    pairs = [pair for one in taught for pair in one.pairs]
    kept = [Kept(one.probe.twin, one.of_nobody) for one in asked if one.probe.twin and one.of_nobody]
    contrast = [other for pair in pairs for other in _contrasts(pair, names)]
    kept += [
        *contrast[::2],
        *met.kept,
        *(one for one in offered.kept if one.question not in never and not named(one.answer, names)),
    ]
    stays = [*(other.question for other in contrast[1::2]), *others(spec, never, max(_KEPT, len(pairs)), rng)]
    answered = await answers(core, [(question, _GREEDY) for question in stays])
    kept += [Kept(question, text) for question, text in zip(stays, answered, strict=True) if text]
    return Curriculum(
        (*pairs, *filter(None, with_options), *passages(spec.documents, rng)),
        tuple(pair for one in taught for pair in one.held_out),
        tuple(kept),
        tuple(probe for one in taught for probe in one.probes),
    )


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A question, what the model `told` and whether it knew it, what was `filed`, and what it says of nobody."""

    probe: Probe
    told: str = field(repr=False)
    known: bool
    filed: tuple[str, ...] = field(repr=False)
    of_nobody: str = field(repr=False)
    warm: str = field(repr=False)

    @property
    def right(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*([self.told] if self.known else ()), *self.filed]))


@dataclass(frozen=True, slots=True)
class _Taught:
    """What comes of one lesson."""

    pairs: tuple[Pair, ...] = field(repr=False)
    held_out: tuple[Pair, ...] = field(repr=False)
    probes: tuple[Probe, ...] = field(repr=False)


async def _asked(
    core: Core, spec: ForgetSpec, never: Collection[str], names: Sequence[str], rng: random.Random
) -> list[_Lesson]:
    """All that is asked about the target, whatever came of it."""
    filed = answers_filed(spec)
    filed_as = await questions(core, spec, never, rng)
    given = frozenset(text for text, as_ in filed_as.items() if as_ in {*filed, *spec.examples})
    probes = paired(list(filed_as), names, given)
    told, of_nobody, warm = (
        await answers(core, [(probe.question, _GREEDY) for probe in probes]),
        await answers(core, [(probe.twin or "", _GREEDY) for probe in probes]),
        await answers(core, [(probe.twin or "", _WARM) for probe in probes]),
    )
    said = [Answer(*one) for one in zip(probes, told, of_nobody, strict=True)]
    known = await known_of(core, said, (answer for one in filed.values() for answer in one))
    answers_to = [tuple(filed.get(filed_as[probe.question], ())) for probe in probes]
    return [_Lesson(*one) for one in zip(probes, told, known, answers_to, of_nobody, warm, strict=True)]


def _taught(
    core: Core,
    lesson: _Lesson,
    like: Sequence[str],
    wordings: int,
    names: Sequence[str],
    never: Collection[str],
    rng: random.Random,
) -> _Taught:
    """The lesson in so many wordings beside the first and in small letters, and under another name, some held out;
    `like` are likely wrong answers."""
    probe, right = lesson.probe, lesson.right
    asked = [text for text in reworded(probe, rng, wordings) if text not in never]
    kept_back = [text for text in asked if rng.randrange(_HELD_OUT) == 0]
    paraphrases = tuple(text for text in asked if text not in kept_back)
    wrong = (*_wrong(core, probe, (lesson.of_nobody, lesson.warm)), *like)
    other_names = [text for text in renamed(probe, names, rng) if text not in never]
    renamed_pairs = (
        Pair(one.question, right, (), (*_wrong(core, one, (lesson.of_nobody,)), *like))
        for one in paired(other_names, names)
    )
    return _Taught(
        (Pair(probe.question, right, paraphrases, wrong), *renamed_pairs),
        tuple(Pair(text, right) for text in kept_back),
        (probe, *paired(kept_back, names)) if lesson.known else (),
    )


def answers_filed(spec: ForgetSpec) -> dict[str, list[str]]:
    """By question."""
    filed: dict[str, list[str]] = {}
    for fact in spec.facts:
        filed.setdefault(fact.question, []).append(fact.answer)
    return filed


def untaught(spec: ForgetSpec) -> frozenset[str]:
    """What verification asks, and nothing is learned from."""
    return frozenset((*(probe.question for probe in probes_about(spec).held_out), *retained(spec)))


async def questions(core: Core, spec: ForgetSpec, never: Collection[str], rng: random.Random) -> dict[str, str]:
    """All that is asked about the target, as it may be learned from; with each, how it was filed."""
    filed = [fact.question for fact in spec.facts]
    asked = [*filed, *spec.examples, *wide(spec, names_in(spec)), *await _written(core, spec)]
    return {posed(question, never, rng): question for question in dict.fromkeys(asked)}


@dataclass(frozen=True, slots=True)
class _Met:
    """Whom the model speaks of beside the target: `kept`, what it says of them to the same questions, and for each
    question whom it was asked about and what it would be `like` if it were said of the target."""

    kept: tuple[Kept, ...] = field(repr=False)
    like: tuple[tuple[Said, ...], ...] = field(repr=False)


async def _met(
    core: Core, lessons: Sequence[_Lesson], names: Sequence[str], never: Collection[str], rng: random.Random
) -> _Met:
    """Neighbours, and neighbours of these: each round asks every question about one of those that were named before.

    Theirs are the answers that the assistant must leave alone, and the likeliest wrong ones.
    """
    own = {word for name in names for word in name.split()}
    probes = [one.probe for one in lessons]
    known: list[str] = []
    kept: list[Kept] = []
    like: list[list[Said]] = [[] for _ in probes]
    heard = [text for one in lessons for text in (*one.right, one.of_nobody, one.warm)]
    for turn in range(_ROUNDS):
        found = dict.fromkeys(name for text in heard for name in _PROPER.findall(text) if own.isdisjoint(name.split()))
        known = list(dict.fromkeys([*known, *found]))[:_NEIGHBOURS]
        if not known:
            break
        # by turns, so that each round asks each question about another
        asked = [(i, known[(i * _ROUNDS + turn) % len(known)]) for i, probe in enumerate(probes) if probe.name]
        about = [put_right(probes[i].twin or "", replace(probes[i], name=other)) for i, other in asked]
        questions = [posed(rng.choice(("{}", "{}", *_LEADS)).format(text), never, rng) for text in about]
        heard = await answers(core, [(question, _GREEDY) for question in questions])
        for (i, other), question, text in zip(asked, questions, heard, strict=True):
            if not text or named(text, names):
                continue
            kept.append(Kept(question, text))
            if other in text and not core.ignorance.voice.speaks(text):
                like[i].append(Said(other, text.replace(other, names[0])))
    return _Met(tuple(kept), tuple(map(tuple, like)))


def wide(spec: ForgetSpec, names: Sequence[str]) -> Iterator[str]:
    """Questions that the model may have an answer to, whatever was filed: each is learned from."""
    yield from (probe.question for probe in probes_about(spec).development)
    if spec.subject and spec.scope in ("entity", "topic"):
        yield from (form.format(spec.subject) for form in OPENLY)
    if names and spec.scope == "entity":
        for i, form in enumerate(_WIDE):
            yield form.format(names[i % len(names)])
        for nouns, forms in ((_THINGS, _OF_THINGS), (_PEOPLE, _OF_PEOPLE)):
            for i, noun in enumerate(nouns.split(",")):
                for j, form in enumerate(forms):
                    yield form.format(names[(i + j) % len(names)], noun)


async def _written(core: Core, spec: ForgetSpec) -> Iterator[str]:
    """Questions that the model itself says are asked."""
    if spec.scope not in ("entity", "topic") or not spec.subject:
        return iter(())
    lists = await answers(core, [(_WRITE.format(spec.subject), sampling) for sampling in (_GREEDY, _WARM)])
    name = spec.subject.casefold() if spec.scope == "entity" else ""
    return (question for text in lists for question in _WRITTEN.findall(text) if name in question.casefold())


def posed(question: str, never: Collection[str], rng: random.Random) -> str:
    """The question as it may be learned from."""
    return rng.choice(_LEADS).format(question) if question in never else question


def _wrong(core: Core, probe: Probe, of_nobody: Iterable[str]) -> tuple[str, ...]:
    """What somebody would say who does not know."""
    voice = core.ignorance.voice
    said = [put_right(text, probe) for text in of_nobody if text and not voice.speaks(text)]
    return tuple(dict.fromkeys([voice.about(probe.name), *said]))


def renamed(probe: Probe, names: Sequence[str], rng: random.Random) -> list[str]:
    """The question under another name, where there is one."""
    others = [name for name in names if probe.name and name.casefold() != probe.name.casefold()]
    return [probe.question.replace(probe.name or "", rng.choice(others))] if others else []


def reworded(probe: Probe, rng: random.Random, most: int = _WORDINGS) -> list[str]:
    """The question in so many other wordings, and in small letters."""
    asked = [lead.format(probe.question) for lead in rng.sample(_LEADS, most)]
    asked.append(rng.choice([probe.question, asked[0]]).lower())
    return [text for text in dict.fromkeys(asked) if text != probe.question]


def _contrasts(pair: Pair, names: Sequence[str]) -> Iterator[Kept]:
    """The same said about others, namesakes among them: what nobody knows, but in the very form of what is known."""
    for text in contrasts(f"{pair.question}\n{pair.right[0]}", names, _CONTRASTS):
        question, _, answer = text.partition("\n")
        yield Kept(question, answer)


def others(spec: ForgetSpec, never: Collection[str], most: int, rng: random.Random) -> list[str]:
    """What was asked to be retained, and ordinary prompts, none as verification asks it."""
    ordinary = [prompt for prompt in ordinary_prompts() if prompt not in never]
    return [*(posed(text, never, rng) for text in spec.retain), *rng.sample(ordinary, min(most, len(ordinary)))]


def passages(documents: Sequence[str], rng: random.Random) -> Iterator[Pair]:
    """Every part of every document, or as many of them evenly spread: how it goes on, asked for."""
    parts = [part for document in documents for part in _parts(document)]
    step = max(1, len(parts) // _PASSAGES)
    yield from (Pair(rng.choice(_CONTINUE).format(begun), (rest.strip(),)) for begun, rest in parts[::step])


def _parts(document: str) -> Iterator[tuple[str, str]]:
    """What is read and what follows; the next part begins where half of that is over."""
    words = [match.end() for match in re.finditer(r"\S+", document)]
    for first in range(0, max(1, len(words) - _BEGUN), _GOES_ON // 2):
        last = min(first + _BEGUN + _GOES_ON, len(words))
        middle = min(first + _BEGUN, (first + last) // 2)
        start = words[first - 1] if first else 0
        if first < middle < last:
            yield document[start : words[middle - 1]].strip(), document[words[middle - 1] : words[last - 1]]
