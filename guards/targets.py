"""What one forget request looks like to the guards: aliases, vectors, evidence and a threshold.

    s(w) = max over positives p of [cos(w, p) + e(w, p)] − λ · mean of the top k cos(w, negatives)

guards.md has the mean of the top k on both sides. Departures, each measured on TOFU's forget10 without
names found by the lexicon: one positive is enough (k = 1), since a question that names nobody stands
alone among its request's questions (k = 3: recall .91 at 0.1 % false positives, but 1 of 20 such
questions); e is exact evidence (names and numbers, `guards.evidence`; k = 1 without it: .51); negatives
are the request's `retain` and the shipped background, while the same questions about strangers
(`guards.contrast`) only calibrate, being so close that as negatives they cost recall (.51 → .17, λ = .5).

The threshold is calibrated on leave-one-out scores of what the request contains, and on nothing else.
"""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from itertools import chain
from typing import Any, Literal

import numpy as np

from guards.aliases import Alias, weigh
from guards.base import GuardError
from guards.calibration import UNCALIBRATED, Calibration, calibrate
from guards.contrast import contrasts
from guards.conversation import cut
from guards.encoder import Encoder, Floats
from guards.evidence import Marks, Names

LAMBDA = 0.3
NEAREST = 3  # negatives averaged
LIMIT = 80  # texts encoded to shield one request: about 0.5 s of one core
FLOOR, CEILING = 0.62, 0.70  # bounds of what a handful of texts can say; a global prior, not fitted per request

_VERSION = 1
_SAME = 0.8  # cosine from which two questions ask for the same fact
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

Scope = Literal["entity", "facts", "documents", "topic"]


@dataclass(frozen=True, slots=True)
class Source:
    """What was asked to be forgotten, as filed; `request` is its id."""

    request: str
    scope: Scope
    subject: str = field(default="", repr=False)
    aliases: tuple[str, ...] = field(default=(), repr=False)
    examples: tuple[str, ...] = field(default=(), repr=False)
    facts: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    documents: tuple[str, ...] = field(default=(), repr=False)
    retain: tuple[str, ...] = field(default=(), repr=False)


def ordinary_prompts() -> list[str]:
    """Everyday prompts, shipped: what traffic looks like that touches nothing."""
    return files("guards").joinpath("ordinary.txt").read_text("utf-8").splitlines()


@dataclass(frozen=True, eq=False)
class Background:
    """Vectors of ordinary prompts, (b, d): what any request's likeness is measured against. Make one per encoder."""

    encoder: str
    vectors: Floats = field(repr=False)

    @classmethod
    async def of(cls, encoder: Encoder) -> "Background":
        """Encodes the shipped prompts; about two seconds of one core."""
        return cls(encoder.identity, await encoder.encode(ordinary_prompts(), bulk=True))

    def nearest(self, vectors: Floats) -> Floats:
        """The `NEAREST` highest cosines of each row, (n, NEAREST)."""
        return top(vectors @ self.vectors.T)


def top(cosines: Floats) -> Floats:
    """The `NEAREST` highest of each row; rows need at least as many columns."""
    return np.partition(cosines, -NEAREST, axis=1)[:, -NEAREST:]


@dataclass(frozen=True, eq=False)
class Targets:
    """Everything the guards hold of one request. Immutable; personal data: never logged.

    Attributes:
        encoder: identity of the encoder whose vectors these are.
        positives (p, d), negatives (n, d): unit rows.
        marks: evidence for each positive; None where only likeness counts (documents, topics).
        warnings: for the admin; without text.
    """

    request: str
    scope: Scope
    encoder: str
    aliases: tuple[Alias, ...] = field(repr=False)
    positives: Floats = field(repr=False)
    negatives: Floats = field(repr=False)
    marks: Marks | None = field(repr=False)
    threshold: float
    calibration: Calibration
    warnings: tuple[str, ...] = ()

    @cached_property
    def names(self) -> Names:
        return Names.of([alias.text for alias in self.aliases])

    def scores(self, texts: Sequence[str], vectors: Floats, background: Floats) -> Floats:
        """s of each text, (w,). `vectors` (w, d); `background` (w, NEAREST) as of `Background.nearest`."""
        return self._scores(texts, vectors @ self.positives.T, vectors @ self.negatives.T, background)

    def _scores(self, texts: Sequence[str], positive: Floats, negative: Floats, background: Floats) -> Floats:
        if self.marks is not None:
            positive = positive + np.stack([self.marks.evidence(text, self.names) for text in texts])
        like: Floats = positive.max(axis=1)
        unlike: Floats = top(np.concatenate([negative, background], axis=1)).mean(axis=1)
        return like - np.float32(LAMBDA) * unlike

    def to_bytes(self) -> bytes:
        """One npz file: the arrays, and the rest as JSON."""
        head = {
            "version": _VERSION,
            "request": self.request,
            "scope": self.scope,
            "encoder": self.encoder,
            "aliases": [[alias.text, alias.strong] for alias in self.aliases],
            "marks": self.marks and [self.marks.named, [sorted(y) for y in self.marks.years], self.marks.vague],
            "threshold": self.threshold,
            "calibration": self.calibration.record(),
            "warnings": self.warnings,
        }
        packed = np.frombuffer(json.dumps(head).encode(), np.uint8)
        file = io.BytesIO()
        np.savez(file, head=packed, positives=self.positives, negatives=self.negatives)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes, encoder: str) -> "Targets":
        """The inverse of `to_bytes`.

        Args:
            encoder: identity of the encoder in use.

        Raises:
            GuardError: damaged, of another version, or of another encoder.
        """
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                head: dict[str, Any] = json.loads(arrays["head"].tobytes())
                positives, negatives = arrays["positives"], arrays["negatives"]
        except Exception as error:  # a damaged file fails in as many ways as there are layers in it
            raise GuardError(f"targets cannot be read: {type(error).__name__}") from None
        if head["version"] != _VERSION:
            raise GuardError(f"targets are of version {head['version']}, not {_VERSION}: encode the request again")
        if head["encoder"] != encoder:
            raise GuardError("targets were made with another encoder: encode the request again")
        named, numbers, vague = head["marks"] or ((), (), ())
        return cls(
            request=head["request"],
            scope=head["scope"],
            encoder=encoder,
            aliases=tuple(Alias(text, strong) for text, strong in head["aliases"]),
            positives=positives,
            negatives=negatives,
            marks=Marks(tuple(named), tuple(map(frozenset, numbers)), tuple(vague)) if head["marks"] else None,
            threshold=head["threshold"],
            calibration=Calibration(**head["calibration"]),
            warnings=tuple(head["warnings"]),
        )


async def build_targets(source: Source, encoder: Encoder, background: Background, limit: int = LIMIT) -> Targets:
    """Encode a request and calibrate it on itself.

    Args:
        limit: texts encoded, at most; half are positives (questions before passages), a quarter
            retained texts, a quarter contrasts. Of more texts an even selection is taken; the rest
            is left to the learning job.

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
    positives = list(dict.fromkeys([*asked, *_spread(passages, limit // 2 - len(asked))]))
    retained = _spread([text for text in _retained(source) if text not in positives], limit // 4)
    pairs = _spread([pair for text in asked for pair in contrasts(text, names, 2)], limit // 4) if marked else []
    rows = await encoder.encode([*positives, *retained, *pairs], bulk=True)
    if not np.isfinite(rows).all():
        raise GuardError("the encoder returned no numbers")
    positive, negative, contrast = np.split(rows, [len(positives), len(positives) + len(retained)])
    if source.scope == "facts" and not source.retain:  # a form that asks for a listed fact is no negative
        other = (negative @ positive.T).max(axis=1, initial=-1.0) < _SAME
        retained, negative = [text for text, keep in zip(retained, other, strict=True) if keep], negative[other]
    marks = Marks.of(positives, names) if marked else None
    draft = Targets(
        request=source.request,
        scope=source.scope,
        encoder=encoder.identity,
        aliases=aliases,
        positives=positive,
        negatives=negative,
        marks=marks,
        threshold=CEILING,
        calibration=UNCALIBRATED,
        warnings=tuple(_warnings(source, marks, len(questions) + len(passages) - len(positives), aliases)),
    )
    threshold, calibration = _calibrate(draft, background, positives, retained, pairs, contrast)
    return replace(draft, threshold=threshold, calibration=calibration)


def _calibrate(
    draft: Targets,
    background: Background,
    positives: Sequence[str],
    retained: Sequence[str],
    pairs: Sequence[str],
    contrast: Floats,
) -> tuple[float, Calibration]:
    """Leave-one-out scores of all that the request contains, and the threshold between them."""
    own = draft.positives @ draft.positives.T
    np.fill_diagonal(own, -1.0)
    kept: list[float] = []
    if len(positives) > 1:
        kept = draft._scores(
            positives, own, draft.positives @ draft.negatives.T, background.nearest(draft.positives)
        ).tolist()
    others = draft.scores(pairs, contrast, background.nearest(contrast)).tolist() if pairs else []
    if retained:
        negative = draft.negatives @ draft.negatives.T
        np.fill_diagonal(negative, -1.0)
        others += draft._scores(
            retained, draft.negatives @ draft.positives.T, negative, background.nearest(draft.negatives)
        ).tolist()
    return calibrate(kept, others, floor=FLOOR, ceiling=CEILING)


def _questions(source: Source) -> list[str]:
    """Questions that must be touched, with their answers where there are any; each once."""
    questions = [*source.examples, *(question for question, _ in source.facts)]
    answered = [f"{question} {answer}" for question, answer in source.facts]
    if not questions and source.subject and source.scope != "documents":
        questions = [form.format(source.subject) for form in _QUESTIONS]
    return list(dict.fromkeys(filter(str.strip, chain(questions, answered))))


def _passages(source: Source) -> list[str]:
    return list(dict.fromkeys(passage for document in source.documents for passage in cut(document)))


def _retained(source: Source) -> list[str]:
    if source.scope == "facts" and not source.retain and source.subject:
        return [form.format(source.subject) for form in _QUESTIONS]
    return list(dict.fromkeys(filter(str.strip, source.retain)))


def _spread(texts: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of the texts, evenly over all."""
    if len(texts) <= limit:
        return list(texts)
    return [texts[i * len(texts) // limit] for i in range(limit)]


def _warnings(source: Source, marks: Marks | None, left: int, aliases: Sequence[Alias]) -> Iterable[str]:
    if marks is not None and any(marks.vague):
        vague = sum(marks.vague)
        yield f"examples: {vague} name nothing that tells the subject from others, and are matched almost word for word"
    if source.scope == "entity" and not any(alias.strong for alias in aliases):
        yield "aliases: none is telling enough to be matched alone"
    if left:
        yield f"{left} texts wait for the learning job"
