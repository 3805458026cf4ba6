"""The most that knowledge may say of a text, for many requests at once and at a fraction of the cost.

Before it: `guards.index` knows what the cosine with a request's nearest positive does not exceed. Dear is
what it does not know: how near the request's own negatives are. But these only add to the background's,
which is known, and a logit is monotone in each cosine while the others stand still (`guards.classifier.design`
multiplies none with itself). So the highest logit over all that is possible lies in a corner of a box, and a
request whose corners stay low is cleared without being weighed. Where a text names nobody of a request
(`guards.glance`) the logit is linear in the cosines, and the corner is told by the signs of their weights.
For facts (`guards.relations`) the box is of all that words may have in common, and of the cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.base import GuardError
from guards.classifier import DESIGN, LIKENESS, Classifier, design
from guards.encoder import Floats
from guards.glance import Glance
from guards.judges import Judges, along
from guards.knowledge import Knowledge
from guards.reading import Text
from guards.relations import FEATURES, _shipped
from guards.targets import LOGIT, Targets, compared

_CORNERS = np.array(tuple(product((0.0, 1.0), repeat=3)), np.float32)  # of nearest, unlike and its mean
_FREE = FEATURES[:-1]  # all but the evidence, which is known
_BOX = np.array(tuple(product((0.0, 1.0), repeat=len(_FREE))), np.float32)
_BELOW = np.array([-1.0 if name in ("cosine", "centred") else 0.0 for name in _FREE], np.float32)
_AT = {name: DESIGN.index(name) for name in LIKENESS}


@dataclass(frozen=True, slots=True)
class Within:
    """A request with a classifier or relations, and bounds of a text's cosine with its nearest positive."""

    targets: Targets = field(repr=False)
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Requests with classifiers that one text does not name: what is fixed of their logits, and what is not.

    Attributes:
        evidence: (n, len(knowledge.FEATURES)). weights: (n, len(DESIGN)). centres: cosines, (n,).
        rest: (n,), the text's embedding under the classifiers, their offsets, less their thresholds.
        thresholds: (n,), of the requests, where their classifiers are at theirs.
    """

    evidence: Floats = field(repr=False)
    weights: Floats = field(repr=False)
    centres: Floats = field(repr=False)
    rest: Floats = field(repr=False)
    thresholds: Floats = field(repr=False)

    @classmethod
    def of(cls, judges: Judges, places: NDArray[np.intp], glance: Glance, vector: Floats) -> "Unnamed":
        return cls(
            evidence=judges.evidence(places, glance),
            weights=judges.weights[places],
            centres=along(judges.centres[places], vector),
            rest=judges.rest(vector)[places],
            thresholds=judges.thresholds[places],
        )

    def among(self, kept: NDArray[Any]) -> "Unnamed":
        """Those at these places, or where this is true."""
        return Unnamed(
            self.evidence[kept], self.weights[kept], self.centres[kept], self.rest[kept], self.thresholds[kept]
        )

    def scores(self, nearest: Floats, unlike: Floats, mean: Floats) -> Floats:
        """What the classifiers give for these cosines, (n,), on the scale of likeness."""
        features = design(self.evidence, compared(nearest, unlike, mean, self.centres))
        logits = np.einsum("nf,nf->n", features, self.weights) + self.rest
        return np.asarray(self.thresholds + LOGIT * logits, np.float32)

    def ceilings(self, high: Floats, background: Floats) -> Floats:
        """What they do not give more than, where no positive is nearer than `high`, (n,)."""
        weight = {name: self.weights[:, at] for name, at in _AT.items()}
        return self.scores(
            np.where(weight["nearest"] + weight["margin"] > 0, high, np.float32(-1.0)),
            np.where(weight["unlike"] - weight["margin"] > 0, np.float32(1.0), background.max()),
            np.where(weight["unlike3"] > 0, np.float32(1.0), background.mean()),
        )


def ceilings(some: Sequence[Within], text: Text, vector: Floats, background: Floats) -> list[float]:
    """What no score exceeds that a classifier, or relations, give; one for each.

    Args:
        vector: (d,). background: (NEAREST,) as of `Background.nearest`.
    """
    judged = [one for one in some if one.targets.relations is None]
    found = iter(_judged(judged, text, vector, background) if judged else ())
    return [next(found) if one.targets.relations is None else _related(one, text) for one in some]


def _judged(some: Sequence[Within], text: Text, vector: Floats, background: Floats) -> list[float]:
    evidence = np.array([one.targets.read(text) for one in some], np.float32)
    centres = np.stack([one.targets.centre for one in some]) @ vector
    low = np.array([(one.low, background.max(), background.mean()) for one in some], np.float32)
    high = np.array([(one.high, 1.0, 1.0) for one in some], np.float32)
    corners = (low[:, None] + _CORNERS * (high - low)[:, None]).reshape(-1, 3)  # (8r, 3)
    count = len(_CORNERS)
    likeness = compared(corners[:, 0], corners[:, 1], corners[:, 2], np.repeat(centres, count))
    features = design(np.repeat(evidence, count, axis=0), likeness)
    vectors = np.broadcast_to(vector, (count, len(vector)))
    found = []
    for i, one in enumerate(some):
        _, classifier = _known(one.targets)
        logit = float(classifier.logits(features[i * count : (i + 1) * count], vectors).max())
        found.append(one.targets.threshold + LOGIT * (logit - classifier.threshold))
    return found


def _known(targets: Targets) -> tuple[Knowledge, Classifier]:
    if targets.knowledge is None or targets.classifier is None:
        raise GuardError("this request has no classifier")
    return targets.knowledge, targets.classifier


def relating(high: Floats, evidence: Floats) -> Floats:
    """What the logits of facts do not exceed, (n,), where no row has a higher cosine, or more evidence."""
    found = np.full(len(high), -np.inf, np.float32)
    for kind in ("asked", "told"):
        weighed = _shipped()[kind]
        cosine, *rest, last = np.array(weighed["weights"], np.float32)
        most = weighed["bias"] + sum(np.maximum(rest, rest * _BELOW[1:]))
        found = np.maximum(found, most + np.maximum(cosine * high, -cosine) + np.maximum(last * evidence, -last))
    return found


def _related(one: Within, text: Text) -> float:
    targets = one.targets
    if targets.relations is None or targets.marks is None:
        raise GuardError("this request lists no facts")
    above = np.array([one.high if name == "cosine" else 1.0 for name in _FREE], np.float32)
    evidence = targets.marks.evidence(text, targets.names)
    box = np.broadcast_to((_BELOW + _BOX * (above - _BELOW))[:, None], (len(_BOX), len(evidence), len(_FREE)))
    features = np.concatenate([box, np.broadcast_to(evidence[:, None], (*box.shape[:2], 1))], axis=2)
    logit = float(targets.relations.logits(features).max())
    return targets.threshold + LOGIT * (max(logit, 0.0) if targets.names.named_in(text) else logit)
