"""The classifiers of a shelf's requests as matrices, and what they know as lists."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from guards.classifier import DESIGN
from guards.encoder import Floats
from guards.glance import Glance, Lists
from guards.knowledge import FEATURES
from guards.targets import Targets

_FEW = 256  # requests whose knowledge is read one by one: lists of so few would cost more to make

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Judges:
    """All arrays are of (requests,), with zeros where there is no classifier.

    Attributes:
        centres (requests, d), weights (requests, len(DESIGN)).
        taught: where embeddings count; `embeddings` (taught, d).
        offsets: of the classifiers, less their thresholds.
    """

    requests: tuple[Targets, ...] = field(repr=False)
    lists: Lists | None = field(repr=False)
    centres: Floats = field(repr=False)
    weights: Floats = field(repr=False)
    thresholds: Floats = field(repr=False)
    offsets: Floats = field(repr=False)
    taught: Places = field(repr=False)
    embeddings: Floats = field(repr=False)

    @classmethod
    def of(cls, some: Sequence[Targets]) -> "Judges":
        dim = some[0].positives.shape[1]
        centres, weights = np.zeros((len(some), dim), np.float32), np.zeros((len(some), len(DESIGN)), np.float32)
        offsets, taught = np.zeros(len(some), np.float32), []
        for i, one in enumerate(some):
            if (classifier := one.classifier) is not None:
                centres[i], weights[i] = one.centre, classifier.evidence
                offsets[i] = classifier.offset - classifier.threshold
                if classifier.embedding.any():
                    taught.append((i, classifier.embedding))
        embeddings = np.array([embedding for _, embedding in taught], np.float32).reshape(-1, dim)
        lists = Lists.of([one.knowledge for one in some]) if len(some) > _FEW else None
        at = np.array([i for i, _ in taught], np.intp)
        thresholds = np.array([one.threshold for one in some], np.float32)
        return cls(tuple(some), lists, centres, weights, thresholds, offsets, at, embeddings)

    def unnamed(self, places: Places, glance: Glance) -> NDArray[np.bool_]:
        """Which of these requests a text names nobody of, (n,)."""
        if self.lists is not None:
            return self.lists.suffices(glance)[places]
        return np.array([glance.suffices(self.requests[place].knowledge) for place in places.tolist()], np.bool_)

    def evidence(self, places: Places, glance: Glance) -> Floats:
        """What they know of a text that names nobody of them, (n, len(FEATURES))."""
        if self.lists is not None:
            return self.lists.evidence(glance)[places]
        found = [glance.evidence(known) for place in places.tolist() if (known := self.requests[place].knowledge)]
        return np.array(found, np.float32).reshape(-1, len(FEATURES))

    def rest(self, vector: Floats) -> Floats:
        """What embeddings and offsets give, (requests,)."""
        rest = self.offsets.copy()
        rest[self.taught] += along(self.embeddings, vector)
        return rest


def along(rows: Floats, vector: Floats) -> Floats:
    """(n,) products of (n, d) with (d,): each the same to the last bit, whatever rows stand beside it."""
    found: Floats = np.einsum("nd,d->n", rows, vector)
    return found
