"""The most that knowledge may say of a text, for many requests at once and at a fraction of the cost.

Before it: `guards.index` knows the cosine with a request's nearest positive, or what it stays below.
Dear is what it does not know: how near the request's own negatives are. But these only add to the
background's, which is known, and a logit is monotone in each cosine while the others stand still
(`guards.classifier.design` multiplies none with itself). So the highest logit over all that is possible
lies in a corner of a box, and a request whose corners stay low is cleared without being weighed. For
facts (`guards.relations`) the box is of all that words may have in common, and of the cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from guards.base import GuardError
from guards.classifier import design
from guards.encoder import Floats
from guards.reading import Text
from guards.relations import FEATURES
from guards.targets import LOGIT, Targets, compared

_CORNERS = np.array(tuple(product((0.0, 1.0), repeat=3)), np.float32)  # of nearest, unlike and its mean
_FREE = FEATURES[:-1]  # all but the evidence, which is known
_BOX = np.array(tuple(product((0.0, 1.0), repeat=len(_FREE))), np.float32)
_BELOW = np.array([-1.0 if name in ("cosine", "centred") else 0.0 for name in _FREE], np.float32)


@dataclass(frozen=True, slots=True)
class Within:
    """A request with a classifier or relations, and bounds of a text's cosine with its nearest positive."""

    targets: Targets = field(repr=False)
    low: float
    high: float


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
        classifier = one.targets.classifier
        if classifier is None:
            raise GuardError("this request has no classifier")
        logit = float(classifier.logits(features[i * count : (i + 1) * count], vectors).max())
        found.append(one.targets.threshold + LOGIT * (logit - classifier.threshold))
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
