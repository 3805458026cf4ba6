"""Scores of many requests for one text, at once: as `Targets.scores` gives them, one by one.

Before it: `guards.index` knows which rows of a request may decide, so that no others are widened and
multiplied. Each request's score is the same to the last bit, whoever is weighed beside it.
"""

from collections.abc import Sequence

import numpy as np

from guards.ceilings import Unnamed
from guards.encoder import Floats
from guards.judges import Places, along
from guards.reading import Text
from guards.targets import LAMBDA, NEAREST, Targets, top


def margins(some: Sequence[Targets], rows: Sequence[Places], text: Text, vector: Floats, background: Floats) -> Floats:
    """Likeness to the questions at these rows, one for each; no request lists facts, and none lacks rows."""
    if not some:
        return np.empty(0, np.float32)
    cosines, starts = _cosines(some, rows, vector)
    cosines += np.concatenate([_evidence(one, own, text) for one, own in zip(some, rows, strict=True)])
    unlike: Floats = _unlike(some, vector, background).mean(axis=1)
    found: Floats = np.maximum.reduceat(cosines, starts) - np.float32(LAMBDA) * unlike
    return found


def judgements(
    some: Sequence[Targets], rows: Sequence[Places], unnamed: Unnamed, vector: Floats, background: Floats
) -> Floats:
    """What classifiers give for a text that names nobody; one of `rows` is each request's nearest."""
    if not some:
        return np.empty(0, np.float32)
    cosines, starts = _cosines(some, rows, vector)
    unlike = _unlike(some, vector, background)
    return unnamed.scores(np.maximum.reduceat(cosines, starts), unlike.max(axis=1), unlike.mean(axis=1))


def _cosines(some: Sequence[Targets], rows: Sequence[Places], vector: Floats) -> tuple[Floats, Places]:
    """With all rows, one request after another, and where each request's begin."""
    starts = np.cumsum([0, *(len(own) for own in rows[:-1])])
    picked = np.concatenate(
        [
            one.positives[own[0] : own[0] + 1] if len(own) == 1 else one.positives[own]  # as nearly always: no copy
            for one, own in zip(some, rows, strict=True)
        ]
    )
    return along(picked.astype(np.float32), vector), starts


def _evidence(one: Targets, rows: Places, text: Text) -> Floats:
    if one.marks is None:
        return np.zeros(len(rows), np.float32)
    return one.marks.evidence(text, one.names)[rows]


def _unlike(some: Sequence[Targets], vector: Floats, background: Floats) -> Floats:
    """The highest cosines with negatives, a request's own and the background's, (n, NEAREST)."""
    counts = np.array([len(one.negatives) for one in some])
    cosines = np.full((len(some), int(counts.max()) + NEAREST), -1.0, np.float32)
    cosines[:, :NEAREST] = background
    own = np.arange(cosines.shape[1]) - NEAREST
    held = (own >= 0) & (own < counts[:, None])
    cosines[held] = along(np.concatenate([one.negatives for one in some]).astype(np.float32), vector)
    return top(cosines)
