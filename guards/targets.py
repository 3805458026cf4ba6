"""What one forget request looks like to the guards: names, vectors, evidence, knowledge, thresholds.

Two scores, each with its threshold; the wider margin counts.

Likeness to the questions that were filed:

    s(w) = max over questions q of [cos(w, q) + e(w, q)] − λ · mean of the top k cos(w, negatives)

guards.md has the mean of the top k on both sides. Departures, each measured on TOFU's forget10 without
names found by the lexicon: one positive is enough (k = 1), since a question that names nobody stands
alone among its request's questions (k = 3: recall .91 at 0.1 % false positives, but 1 of 20 such
questions); e is exact evidence (names and numbers, `guards.evidence`; k = 1 without it: .51); negatives
are the request's `retain` and the shipped background, while the same questions about strangers
(`guards.contrast`) only calibrate, being so close that as negatives they cost recall (.51 → .17, λ = .5).

What the request's texts know of its subject (`guards.knowledge`), weighed by its own classifier
(`guards.classifier`): for entities, where passages and titles tell of somebody whom no question names.

Facts are weighed by what is asked about their subject instead (`guards.relations`).

`guards.learning` makes them.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guards.aliases import Alias
from guards.base import GuardError
from guards.calibration import Calibration
from guards.classifier import DESIGN, GREY, Classifier, design
from guards.encoder import Encoder, Floats
from guards.evidence import Marks, Names
from guards.knowledge import Knowledge
from guards.reading import Text
from guards.relations import Relations, stems

LAMBDA = 0.3
NEAREST = 3  # negatives averaged
LOGIT = 0.02  # a logit of the classifier, on the scale of likeness
NEAR = GREY * LOGIT  # below a threshold, and the answer is read

_ITSELF = 0.9999
_ANSWER = 0.1 - GREY  # a logit that is near: the answer decides
_VERSION = 5

Halves = NDArray[np.float16]
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
    heard: tuple[str, ...] = field(default=(), repr=False)  # what the model itself says, of an entity or a topic


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

    def nearest(self, vectors: Floats, apart: bool = False) -> Floats:
        """The `NEAREST` highest cosines of each row, (n, NEAREST). `apart`: a prompt is not compared with itself."""
        cosines = vectors @ self.vectors.T
        return top(np.where(cosines > _ITSELF, -1.0, cosines) if apart else cosines)


@dataclass(frozen=True, eq=False)
class Likeness:
    """Cosines of some texts: with positives (w, p), the nearest negatives (w, NEAREST), the positives' centre (w,)."""

    positive: Floats = field(repr=False)
    unlike: Floats = field(repr=False)
    centre: Floats = field(repr=False)

    @classmethod
    def of(cls, targets: "Targets", vectors: Floats, background: Floats) -> "Likeness":
        unlike = top(np.concatenate([_cosines(vectors, targets.negatives), background], axis=1))
        return cls(_cosines(vectors, targets.positives), unlike, vectors @ targets.centre)


def _cosines(vectors: Floats, rows: Halves) -> Floats:
    """(w, n); the rows are widened as they lie in memory, which is half the cost."""
    found: Floats = (rows.astype(np.float32) @ vectors.T).T
    return found


def compared(nearest: Floats, unlike: Floats, mean: Floats, centre: Floats) -> Floats:
    """The columns of `classifier.LIKENESS`, (w, 5), of cosines (w,)."""
    return np.column_stack([nearest, unlike, nearest - unlike, mean, centre])


def top(cosines: Floats) -> Floats:
    """The `NEAREST` highest of each row; rows need at least as many columns."""
    return np.partition(cosines, -NEAREST, axis=1)[:, -NEAREST:]


@dataclass(frozen=True, eq=False)
class Targets:
    """Everything the guards hold of one request. Immutable; personal data: never logged.

    Attributes:
        encoder: identity of the encoder whose vectors these are.
        positives (p, d), negatives (n, d): unit rows, halves, to be small; first the questions, then passages.
        marks: evidence for each question; None where only likeness counts (documents, topics).
        relations: for facts; knowledge, classifier: for entities; None for other scopes.
        warnings: for the admin; without text.
        judged: how the learned classifier's threshold does on texts that it has not seen; None for the prior.
        ordinary (b,): the scores of the shipped prompts.
    """

    request: str
    scope: Scope
    encoder: str
    aliases: tuple[Alias, ...] = field(repr=False)
    positives: Halves = field(repr=False)
    negatives: Halves = field(repr=False)
    marks: Marks | None = field(repr=False)
    threshold: float
    calibration: Calibration
    relations: Relations | None = field(default=None, repr=False)
    knowledge: Knowledge | None = field(default=None, repr=False)
    classifier: Classifier | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    judged: Calibration | None = None
    ordinary: Floats = field(default_factory=lambda: np.empty(0, np.float32), repr=False)

    @cached_property
    def names(self) -> Names:
        return Names.of([alias.text for alias in self.aliases])

    @cached_property
    def keys(self) -> frozenset[str]:
        """Folded words that lead from a text to this request."""
        own = self.names.parts if self.marks is not None else frozenset[str]()
        return own | self.knowledge.keys if self.knowledge else own

    @cached_property
    def centre(self) -> Floats:
        """The direction of the positives' mean, (d,)."""
        mean = self.positives.mean(axis=0, dtype=np.float32)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)

    def scores(self, texts: Sequence[Text], vectors: Floats, background: Floats) -> Floats:
        """How far each text reaches, (w,); from `threshold` on it touches the request.

        Args:
            vectors: (w, d). background: (w, NEAREST) as of `Background.nearest`.
        """
        if self.relations is not None:
            logits = self.relations.logits(self.relating(texts, vectors))
            named = np.array([self.names.named_in(text) for text in texts])
            return np.asarray(self.threshold + LOGIT * np.where(named, np.maximum(logits, _ANSWER), logits), np.float32)
        likeness = Likeness.of(self, vectors, background)
        scores = self.margins(texts, likeness)
        if self.classifier is None:
            return scores
        logits = self.classifier.logits(self.features(texts, likeness), vectors)
        judged: Floats = np.maximum(scores, self.threshold + LOGIT * (logits - self.classifier.threshold))
        return judged

    def reached_at(self, scale: float) -> float:
        """The score that touches; facts are weighed by logits, so theirs moves by what makes a prompt near."""
        if self.relations is not None:
            return self.threshold + (scale - 1.0) * NEAR
        return self.threshold * scale

    def near_from(self, scale: float) -> float:
        """The score from which answers are read; who names the subject of facts is near at any scale."""
        reached = self.reached_at(scale)
        return (reached if self.relations is None else min(self.threshold, reached)) - NEAR

    def answered(self, together: float) -> float:
        """The score of a question with its answer, which has a threshold of its own, on the scale of prompts."""
        if self.classifier is None:
            return together
        return together + LOGIT * max(0.0, self.classifier.threshold - self.classifier.answered)

    def margins(self, texts: Sequence[Text], likeness: "Likeness") -> Floats:
        """Likeness to the questions, (w,)."""
        positive = likeness.positive
        if self.marks is not None:
            asked = len(self.marks.named)
            if not asked:
                return np.full(len(texts), -1.0, np.float32)
            positive = positive[:, :asked] + self._evidence(texts)
        unlike: Floats = likeness.unlike.mean(axis=1)
        return np.asarray(positive.max(axis=1) - np.float32(LAMBDA) * unlike, np.float32)

    def relating(self, texts: Sequence[Text], vectors: Floats) -> Floats:
        """What the relations weigh, (w, p, f)."""
        if self.relations is None:
            raise GuardError("this request lists no facts")
        own = [stems(text, self.names.parts) for text in texts]
        rows = self.positives[: len(self.relations.asked)].astype(np.float32)
        return self.relations.features(own, vectors, rows, self.negatives.astype(np.float32), self._evidence(texts))

    def _evidence(self, texts: Sequence[Text]) -> Floats:
        """What names and numbers add to the likeness with each question, (w, p)."""
        if self.marks is None:
            raise GuardError("this request has no questions")
        return np.stack([self.marks.evidence(text, self.names) for text in texts])

    def features(self, texts: Sequence[Text], likeness: "Likeness") -> Floats:
        """What the classifier weighs, (w, f)."""
        evidence = np.array([self.read(text) for text in texts], np.float32)
        nearest, unlike = likeness.positive.max(axis=1), likeness.unlike.max(axis=1)
        return design(evidence, compared(nearest, unlike, likeness.unlike.mean(axis=1), likeness.centre))

    def read(self, text: Text) -> list[float]:
        """What the request knows of a text, one number for each of `knowledge.FEATURES`."""
        if self.knowledge is None:
            raise GuardError("this request knows nothing")
        return self.knowledge.evidence(text.reading)

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
            "relations": self.relations and self.relations.record(),
            "knowledge": self.knowledge and self.knowledge.record(),
            "classifier": self.classifier and self.classifier.record(),
            "design": self.classifier and DESIGN,
            "judged": self.judged and self.judged.record(),
        }
        packed = np.frombuffer(json.dumps(head).encode(), np.uint8)
        file = io.BytesIO()
        arrays: dict[str, Any] = {"head": packed, "positives": self.positives, "negatives": self.negatives}
        arrays["ordinary"] = self.ordinary
        if self.classifier is not None:
            arrays |= {"evidence": self.classifier.evidence, "embedding": self.classifier.embedding}
        np.savez(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes, encoder: str) -> "Targets":
        """The inverse of `to_bytes`.

        Args:
            encoder: identity of the encoder in use.

        Raises:
            GuardError: damaged, of another version, of other features, or of another encoder.
        """
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                head: dict[str, Any] = json.loads(arrays["head"].tobytes())
                if head["version"] != _VERSION:
                    raise GuardError(
                        f"targets are of version {head['version']}, not {_VERSION}: encode the request again"
                    )
                if head["encoder"] != encoder:
                    raise GuardError("targets were made with another encoder: encode the request again")
                known = head["classifier"]
                if known and tuple(head["design"]) != DESIGN:
                    raise GuardError("targets were made of other features: encode the request again")
                named, numbers, vague = head["marks"] or ((), (), ())
                return cls(
                    request=head["request"],
                    scope=head["scope"],
                    encoder=encoder,
                    aliases=tuple(Alias(text, strong) for text, strong in head["aliases"]),
                    positives=arrays["positives"],
                    negatives=arrays["negatives"],
                    marks=Marks(tuple(named), tuple(map(frozenset, numbers)), tuple(vague)) if head["marks"] else None,
                    threshold=head["threshold"],
                    calibration=Calibration(**head["calibration"]),
                    relations=head["relations"] and Relations.from_record(head["relations"]),
                    knowledge=head["knowledge"] and Knowledge.from_record(head["knowledge"]),
                    classifier=known and Classifier(arrays["evidence"], arrays["embedding"], **known),
                    warnings=tuple(head["warnings"]),
                    judged=head["judged"] and Calibration(**head["judged"]),
                    ordinary=arrays["ordinary"],
                )
        except GuardError:
            raise
        except Exception as error:  # a damaged file fails in as many ways as there are layers in it
            raise GuardError(f"targets cannot be read: {type(error).__name__}") from None
