"""From what was filed to what the guards look for: encoding, knowledge, calibration, learning.

Filing a request shields it at once: `build_targets` encodes a selection of its texts, in half a second
of one core. The learning job comes back with all of them, with what the model was heard to say, and
with `learn`: the classifier is then learned from the request's own texts. These are seen by halves:
what one half knows judges the other, or every text would know itself.

Thresholds rest on leave-one-out scores of what the request contains, and on nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain

import numpy as np

from guards.aliases import Alias, weigh, words
from guards.base import GuardError
from guards.calibration import UNCALIBRATED, Calibration, assess, calibrate
from guards.classifier import Classifier
from guards.contrast import contrasts
from guards.conversation import sentences
from guards.encoder import Encoder, Floats
from guards.evidence import Marks
from guards.knowledge import Knowledge
from guards.reading import Text
from guards.relations import Relations
from guards.targets import Background, Halves, Likeness, Source, Targets, ordinary_prompts, top

SHIELD = 80  # texts encoded to shield one request: about 0.5 s of one core
LEARN = 4_000  # texts encoded to learn one request: about 10 s
HARDEST = 256  # retained texts kept, those nearest to what must go: what a decision costs
FLOOR, CEILING = 0.62, 0.70  # bounds of what a handful of texts can say; a global prior, not fitted per request

_SAME = 0.8  # cosine from which two questions ask for the same fact
_READ = 60  # passages read for knowledge while a request is only being shielded
_MINED = (10, 50)  # ranks of retained texts nearest to a positive: neighbours that are no duplicates
_QUESTIONS = (
    "Who is {}?",
    "Tell me about {}.",
    "Where was {} born?",
    "What is {} known for?",
    "What does {} do for a living?",
    "What do you know about the life of {}?",
    "Who are the parents of {}?",
    "When was {} born?",
)


async def build_targets(
    source: Source, encoder: Encoder, background: Background, limit: int = SHIELD, learn: bool = False
) -> Targets:
    """Encode a request and calibrate it on itself.

    Args:
        limit: texts encoded, at most; half are positives (questions before passages), a quarter
            retained texts, a quarter contrasts. Of more texts an even selection is taken; the rest
            is left to the learning job.
        learn: learn the classifier from the request's texts too.

    Raises:
        GuardError: the request holds nothing to look for, or the encoder failed.
    """
    aliases = weigh(source.subject, source.aliases)
    if source.scope != "entity":  # the name alone is innocent where only facts, texts or a domain are forgotten
        aliases = tuple(Alias(alias.text, strong=False) for alias in aliases)
    names = [alias.text for alias in aliases]
    marked = source.scope in ("entity", "facts")
    questions, passages = _questions(source), _passages(source)
    if not questions and not passages:
        raise GuardError("examples: there is nothing to look for")
    asked = _spread(questions, limit // 2)
    told = _spread([text for text in passages if text not in questions], limit // 2 - len(asked))
    kept, contrary = _retained(source)
    retained = _spread([text for text in kept if text not in questions], limit // 4)
    pairs = _spread([pair for text in asked for pair in contrasts(text, names, 2)], limit // 4) if marked else []
    rows = await encoder.encode([*asked, *told, *retained, *pairs], bulk=True)
    if not np.isfinite(rows).all():
        raise GuardError("the encoder returned no numbers")
    size = len(asked) + len(told)
    positive, negative, contrast = np.split(rows, [size, size + len(retained)])
    if source.scope == "facts" and not source.retain:  # a form that asks for a listed fact is no negative
        other = (negative @ positive.T).max(axis=1, initial=-1.0) < _SAME
        retained, negative = [text for text, keep in zip(retained, other, strict=True) if keep], negative[other]
    hardest = _hardest(negative, positive)
    marks = Marks.of(asked, names) if marked else None
    left = len(questions) + len(passages) - size
    draft = Targets(
        request=source.request,
        scope=source.scope,
        encoder=encoder.identity,
        aliases=aliases,
        positives=_halves(positive),
        negatives=_halves(negative[hardest]),
        marks=marks,
        threshold=CEILING,
        calibration=UNCALIBRATED,
        warnings=tuple(_warnings(source, marks, left, contrary, aliases)),
    )
    threshold, calibration = _calibrate(
        draft, background, asked if marked else [*asked, *told], [retained[i] for i in hardest], pairs, contrast
    )
    draft = replace(draft, threshold=threshold, calibration=calibration)
    if source.scope == "facts":
        stay = _Rows((*(retained[i] for i in hardest), *pairs), np.concatenate([negative[hardest], contrast]))
        return _seen(_related(draft, background, source, asked, stay), background)
    if source.scope != "entity" or not passages:  # questions alone are matched as questions
        return _seen(draft, background)
    own = _Rows((*asked, *told), positive)
    others = _Rows((*retained, *pairs), np.concatenate([negative, contrast]))
    return _seen(_known(draft, background, source, kept, own, others, learn), background)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Texts and their vectors."""

    texts: tuple[str, ...] = field(repr=False)
    vectors: Floats = field(repr=False)

    def part(self, at: slice | Sequence[int]) -> "_Rows":
        return _Rows(tuple(np.array(self.texts, object)[at]), self.vectors[at])


def _known(
    draft: Targets, background: Background, source: Source, kept: Sequence[str], own: _Rows, others: _Rows, learn: bool
) -> Targets:
    """The targets of an entity that texts describe: with what they know of it, and the classifier that weighs that."""
    told_of = (*source.documents, *source.heard)
    read = len(told_of) if learn else _READ
    filed = _questions(source) if source.examples or source.facts else []  # forms of our own say nothing of the subject
    telling = [*_spread(told_of, read), *filed]
    against = _spread(kept, max(_READ, read))
    names = [alias.text for alias in draft.aliases]
    known = Knowledge.of(names, telling, against)
    made = replace(draft, knowledge=known, classifier=Classifier.prior(draft.positives.shape[1]))
    return _learned(made, background, telling, against, own, others) if learn else made


def _related(draft: Targets, background: Background, source: Source, asked: Sequence[str], stay: _Rows) -> Targets:
    """The targets of listed facts, weighed by what is asked; judged on what must stay.

    What they miss cannot be told from a request that has each fact once: nothing is stated of it.
    """
    answers = {f"{question} {answer}": (question, answer) for question, answer in source.facts}
    rows = [answers.get(text, (text, "")) for text in asked]
    made = replace(draft, relations=Relations.of(rows, draft.names.parts), threshold=FLOOR)
    scores: list[float] = []
    if stay.texts:
        nearest = background.nearest(stay.vectors)
        scores = made.scores([*map(Text, stay.texts)], stay.vectors, nearest).tolist()
    return replace(made, calibration=assess("shipped weights of relations", [], scores, made.threshold))


def _hardest(negative: Floats, positive: Floats) -> list[int]:
    """The negatives nearest to any positive: no other is near a prompt that comes close to the request."""
    near = (negative @ positive.T).max(axis=1, initial=-1.0)
    return sorted(np.argsort(-near, kind="stable")[:HARDEST].tolist())


def _halves(rows: Floats) -> Halves:
    return rows.astype(np.float16)


def _learned(
    known: Targets, background: Background, telling: Sequence[str], against: Sequence[str], own: _Rows, others: _Rows
) -> Targets:
    """The classifier learned from the request's own texts, by halves, against neighbours, contrasts and traffic."""
    place = _places(own.texts, telling)
    half_of = [place.get(text, i) % 2 for i, text in enumerate(own.texts)]  # forms of our own are in no text
    if known.classifier is None or len(set(half_of)) < 2:
        return known
    half_of_other = {text: i % 2 for i, text in enumerate(others.texts)}
    names = [alias.text for alias in known.aliases]
    traffic = _Rows(tuple(ordinary_prompts()), background.vectors)
    mined = _mined(own.vectors, others.vectors)
    features, vectors, touched = [], [], list[list[bool]]()
    for half in (0, 1):
        mine = own.part([i for i, one in enumerate(half_of) if one == half])
        theirs = own.part([i for i, one in enumerate(half_of) if one != half])
        unlike = others.part(slice(half, None, 2)).vectors
        judge = replace(
            known,
            positives=_halves(mine.vectors),
            negatives=_halves(unlike[_hardest(unlike, mine.vectors)]),
            marks=None,
            knowledge=Knowledge.of(
                names,
                [text for text in telling if place[text] % 2 == half],
                [text for text in against if half_of_other.get(text, half) == half],
            ),
        )
        judged = [theirs, others.part([i for i in mined if i % 2 != half]), traffic.part(slice(1 - half, None, 2))]
        texts = [Text(text) for rows in judged for text in rows.texts]
        rows = np.concatenate([one.vectors for one in judged])
        features.append(judge.features(texts, Likeness.of(judge, rows, background.nearest(rows, apart=True))))
        vectors.append(rows)
        touched.append([i < len(judged[0].texts) for i in range(len(texts))])
    prior = known.classifier
    halves = [prior.learn(features[i], vectors[i], touched[i]) for i in (0, 1)]
    scores = np.concatenate([halves[1 - i].logits(features[i], vectors[i]) for i in (0, 1)])
    is_own = np.concatenate(touched)
    return replace(
        known,
        classifier=prior.learn(np.concatenate(features), np.concatenate(vectors), is_own.tolist()),
        judged=assess("cross-fitted halves", scores[is_own].tolist(), scores[~is_own].tolist(), prior.threshold),
    )


def _places(own: Sequence[str], telling: Sequence[str]) -> dict[str, int]:
    """A number for each text that tells, the same for all sentences of one, counted as `own` comes to them."""
    source: dict[str, int] = {}
    for i, text in enumerate(telling):
        for one in (text, *sentences(text)):
            source.setdefault(one, i)
    order = {
        i: at
        for at, i in enumerate(dict.fromkeys([*(source[text] for text in own if text in source), *range(len(telling))]))
    }
    return {one: order[i] for one, i in source.items()}


@cache
def _ordinary_texts() -> tuple[Text, ...]:
    return tuple(map(Text, ordinary_prompts()))


def _seen(targets: Targets, background: Background) -> Targets:
    """The targets with their scores on ordinary prompts; a warning where they alone touch any."""
    vectors = background.vectors
    scores = targets.scores(_ordinary_texts(), vectors, background.nearest(vectors, apart=True))
    touched = int((scores >= targets.threshold).sum())
    said = (f"{touched} of {len(scores)} ordinary prompts are touched by what was filed",) if touched else ()
    return replace(targets, ordinary=scores.astype(np.float32), warnings=(*targets.warnings, *said))


def _mined(positive: Floats, negative: Floats) -> list[int]:
    """The negatives that are neighbours of some positive; near duplicates and strangers are not telling."""
    if not len(negative):
        return []
    ranked = np.argsort(-(positive @ negative.T), axis=1)[:, _MINED[0] : _MINED[1]]
    return sorted(set(ranked.ravel().tolist())) or [*range(len(negative))]


def _calibrate(
    draft: Targets,
    background: Background,
    positives: Sequence[str],
    retained: Sequence[str],
    pairs: Sequence[str],
    contrast: Floats,
) -> tuple[float, Calibration]:
    """Leave-one-out scores of all that the request contains, and the threshold between them."""
    size = len(positives)
    rows, unlike = draft.positives[:size].astype(np.float32), draft.negatives.astype(np.float32)
    kept: list[float] = []
    if size > 1:
        likeness = Likeness.of(draft, rows, background.nearest(rows))
        np.fill_diagonal(likeness.positive, -1.0)
        kept = draft.margins([*map(Text, positives)], likeness).tolist()
    others: list[float] = []
    if pairs:
        others = draft.margins([*map(Text, pairs)], Likeness.of(draft, contrast, background.nearest(contrast))).tolist()
    if retained:
        alone = replace(draft, negatives=draft.negatives[:0])
        own = unlike @ unlike.T
        np.fill_diagonal(own, -1.0)
        near = top(np.concatenate([own, background.nearest(unlike)], axis=1))
        others += draft.margins([*map(Text, retained)], Likeness.of(alone, unlike, near)).tolist()
    return calibrate(kept, others, floor=FLOOR, ceiling=CEILING)


def _questions(source: Source) -> list[str]:
    """Questions that must be touched, with their answers where there are any; each once."""
    questions = [*source.examples, *(question for question, _ in source.facts)]
    answered = [f"{question} {answer}" for question, answer in source.facts]
    if not questions and source.subject and source.scope != "documents":
        questions = [form.format(source.subject) for form in _QUESTIONS]
    return list(dict.fromkeys(filter(str.strip, chain(questions, answered))))


def _passages(source: Source) -> list[str]:
    heard = source.heard if source.scope in ("entity", "topic") else ()
    return list(dict.fromkeys(sentence for text in (*source.documents, *heard) for sentence in sentences(text)))


def _retained(source: Source) -> tuple[list[str], int]:
    """Texts that must stay, and how many of them name the very entity that must go: these are not used."""
    if source.scope == "facts" and not source.retain and source.subject:
        return [form.format(source.subject) for form in _QUESTIONS], 0
    texts = [*filter(str.strip, source.retain)]
    kept = texts
    if source.scope == "entity" and (name := " ".join(words(source.subject))):
        kept = [text for text in texts if name not in " ".join(words(text))]
    return list(dict.fromkeys(sentence for text in kept for sentence in sentences(text))), len(texts) - len(kept)


def _spread(texts: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of the texts, evenly over all."""
    if len(texts) <= limit:
        return list(texts)
    return [texts[i * len(texts) // limit] for i in range(limit)]


def _warnings(source: Source, marks: Marks | None, left: int, contrary: int, aliases: Sequence[Alias]) -> Iterable[str]:
    if marks is not None and any(marks.vague):
        vague = sum(marks.vague)
        yield f"examples: {vague} name nothing that tells the subject from others, and are matched almost word for word"
    if source.scope == "entity" and not any(alias.strong for alias in aliases):
        yield "aliases: none is telling enough to be matched alone"
    if contrary:
        yield f"retain: {contrary} texts name the subject itself, and are not used"
    if left:
        yield f"{left} texts wait for the learning job"
