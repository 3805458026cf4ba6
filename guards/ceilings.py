"""The most that a classifier may say of a text, for many requests at once and at a fraction of the cost.

Before it: `guards.index` knows the cosine with a request's nearest positive, or what it stays below.
Dear is what it does not know: how near the request's own negatives are. But these only add to the
background's, which is known, and a logit is monotone in each cosine while the others stand still
(`guards.classifier.design` multiplies none with itself). So the highest logit over all that is possible
lies in a corner of a box, and a request whose corners stay low is cleared without being weighed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from guards.base import GuardError
from guards.classifier import design
from guards.encoder import Floats
from guards.reading import Text
from guards.targets import LOGIT, Targets, compared

_CORNERS = np.array(tuple(product((0.0, 1.0), repeat=3)), np.float32)  # of nearest, unlike and its mean


@dataclass(frozen=True, slots=True)
class Within:
    """A request with knowledge and a classifier, and bounds of a text's cosine with its nearest positive."""

    targets: Targets = field(repr=False)
    low: float
    high: float


def ceilings(some: Sequence[Within], text: Text, vector: Floats, background: Floats) -> list[float]:
    """What no score that a classifier gives exceeds, one for each.

    Args:
        vector: (d,). background: (NEAREST,) as of `Background.nearest`.
    """
    if not some:
        return []
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
