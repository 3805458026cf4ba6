"""The learned prompt classifier of one forget request.

Logistic regression over evidence (`guards.knowledge`, and how near a text is to what was filed) and
over the text's embedding:

    logit(x) = w·(φ(x) − μ)/σ + u·v(x) + b

where φ are the numbers of evidence, v the unit embedding. A request rarely brings enough text to learn
all of it, so it is learned as a maximum a posteriori: (w, b) have a Gaussian prior about weights that
are shipped (`prior.json`: one regression over many subjects, made by `bench.evidence_prior`), u about
zero; the more a request brings, the further it moves. With nothing to learn from it is the prior.

guards.md: "Grey zone → a heavier second look": a logit within `GREY` below the threshold is near, and
the answer is then read together with the question (`reviewed`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.encoder import Floats
from guards.knowledge import FEATURES

GREY = 5.0  # logits below the threshold within which an answer is read before it leaves
LIKENESS = ("nearest", "unlike", "margin", "unlike3", "centre")
_SHORT = 0.45  # from which a lone word may name the subject
_SURELY = 0.5, 0.45  # how regularly a lone word stands for the subject, and how near the text is: then it does
_SURE = 1.0  # logits above the threshold that it is worth
_EVIDENCE_WEIGHT = 2_000.0  # precision of the prior over the weights of evidence: how many texts they are worth
_EMBEDDING_WEIGHT = 20.0  # precision of the prior over the weights of the embedding
_HIGHEST = 10  # negatives that set the offset
_STEPS = 50  # of Newton's method; five are enough, but for texts that contradict a prior that is sure
_SMALLEST = 1e-6  # step

DESIGN = (
    *FEATURES,
    *LIKENESS,
    "named",  # by a whole name, or by a word that regularly stands for the subject
    "alone",  # no strangers
    "named alone",
    "role alone",
    "role of strangers",  # "the star of" what the texts do not know
    "known alone",
    "named margin",
)


def design(evidence: Floats, likeness: Floats) -> Floats:
    """φ, (n, len(DESIGN)), of evidence (n, len(FEATURES)) and likeness (n, len(LIKENESS))."""
    column = {name: evidence[:, i] for i, name in enumerate(FEATURES)}
    named = np.maximum(column["also"], column["short"] > _SHORT)
    alone = (column["strangers"] == 0).astype(np.float32)
    margin = likeness[:, LIKENESS.index("margin")]
    strange = column["role"] * (1 - alone) * (column["known"] == 0)
    made = (named, alone, named * alone, column["role"] * alone, strange, column["known"] * alone, named * margin)
    return np.column_stack([evidence, likeness, *made]).astype(np.float32)


def surely_named(features: Floats) -> NDArray[np.bool_]:
    """Of φ (n, f): whether the subject is named, in full or by the word that regularly stands for it."""
    column = {name: features[:, DESIGN.index(name)] for name in ("also", "short", "nearest")}
    regular, near = _SURELY
    return ((column["also"] > 0) | (column["short"] > regular)) & (column["nearest"] >= near)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Immutable. `evidence` (f,) are w/σ, `embedding` (d,) is u; `offset` is b − w·μ/σ.

    Attributes:
        threshold: of the logit of a prompt.
        answered: of the logit of a prompt with its answer.
        learned: on how many texts; 0 is the prior.
    """

    evidence: Floats = field(repr=False)
    embedding: Floats = field(repr=False)
    offset: float
    threshold: float
    answered: float
    learned: int = 0

    @classmethod
    def prior(cls, dim: int) -> "Classifier":
        """What is shipped, for embeddings of length `dim`."""
        shipped = _shipped()
        weights, scale = np.array(shipped["weights"], np.float32), np.array(shipped["scale"], np.float32)
        evidence = np.asarray(weights / scale, np.float32)
        return cls(
            evidence=evidence,
            embedding=np.zeros(dim, np.float32),
            offset=float(shipped["bias"] - evidence @ np.array(shipped["mean"], np.float32)),
            threshold=shipped["threshold"],
            answered=shipped["answered"],
        )

    def logits(self, features: Floats, vectors: Floats) -> Floats:
        """(n,), of φ (n, f) and unit embeddings (n, d). Whoever is surely named is over the threshold.

        Of 187 development prompts so named, and not in full, 182 were about the subject; a regression gives
        them less, since strangers stand beside the name.
        """
        logits = features @ self.evidence + vectors @ self.embedding + self.offset
        sure = np.where(surely_named(features), np.float32(self.threshold + _SURE), -np.inf)
        return np.asarray(np.maximum(logits, sure), np.float32)

    def learn(self, features: Floats, vectors: Floats, touched: Sequence[bool]) -> "Classifier":
        """The classifier that these texts make of this one; both classes weigh alike.

        Args:
            features (n, f), vectors (n, d): of texts that must, and must not, be touched.
            touched: which.
        """
        y = np.array(touched, np.float64)
        if not 0 < y.sum() < len(y):
            return self
        sizes = np.array(_shipped()["scale"], np.float64)
        x = np.column_stack([features / sizes, vectors, np.ones(len(y))]).astype(np.float64)
        start = np.concatenate([self.evidence * sizes, self.embedding, [self.offset]]).astype(np.float64)
        precision = np.concatenate(
            [
                np.full(len(sizes), _EVIDENCE_WEIGHT),
                np.full(vectors.shape[1], _EMBEDDING_WEIGHT),
                [_EVIDENCE_WEIGHT],
            ]
        )
        balance = np.where(y > 0, 0.5 / y.sum(), 0.5 / (len(y) - y.sum())) * min(len(y), 200)

        def loss(w: NDArray[np.float64]) -> float:
            z = x @ w
            return float(balance @ (np.logaddexp(0.0, z) - y * z) + 0.5 * precision @ np.square(w - start))

        w, now = start.copy(), loss(start)
        for _ in range(_STEPS):
            p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
            gradient = x.T @ (balance * (p - y)) + precision * (w - start)
            curvature = (x * (balance * p * (1 - p))[:, None]).T @ x + np.diag(precision)
            step = np.linalg.solve(curvature, gradient)
            while (then := loss(w - step)) > now and np.abs(step).max() >= _SMALLEST:  # where it is flat, it leaps
                step /= 2
            if then > now or np.abs(step).max() < _SMALLEST:
                break
            w, now = w - step, then
        learned = replace(
            self,
            evidence=(w[: len(sizes)] / sizes).astype(np.float32),
            embedding=w[len(sizes) : -1].astype(np.float32),
            offset=float(w[-1]),
            learned=len(y),
        )
        # both classes weighed alike in learning: what the negatives reach at most stays where the prior has it
        moved = learned._highest(features[y == 0], vectors[y == 0]) - self._highest(features[y == 0], vectors[y == 0])
        return replace(learned, offset=learned.offset - moved)

    def _highest(self, features: Floats, vectors: Floats) -> float:
        logits = features @ self.evidence + vectors @ self.embedding + self.offset
        return float(np.sort(logits)[-_HIGHEST:].mean())

    def record(self) -> dict[str, Any]:
        """All but the arrays, as JSON."""
        return {
            "offset": self.offset,
            "threshold": self.threshold,
            "answered": self.answered,
            "learned": self.learned,
        }


@cache
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("guards").joinpath("prior.json").read_text("utf-8"))
    if tuple(found["features"]) != DESIGN:
        raise ValueError("prior.json is of other features: python -m bench.evidence_prior")
    return found
