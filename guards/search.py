"""One text among one shelf's requests: bounds first, scores of those that bounds do not clear.

A row's distance bounds its cosine, the cosine what likeness and knowledge may come to, and only of what is
left are the rows themselves read (`guards.weighing`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.ceilings import Unnamed, Within, ceilings, relating
from guards.encoder import Floats
from guards.glance import Glance
from guards.judges import Judges, Places
from guards.nearest import LIKE, Rows
from guards.reading import Text
from guards.shelf import Owners, Shelf
from guards.targets import LAMBDA, LOGIT, NEAR, Targets
from guards.weighing import judgements, margins

_CROWD = 4_096  # requests of a shelf that are weighed by one measure, of those that may be touched or near

Scored = list[tuple[Targets, float]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One text, as all requests see it."""

    text: Text = field(repr=False)
    vector: Floats = field(repr=False)  # (d,)
    background: Floats = field(repr=False)  # (NEAREST,) as of `Background.nearest`
    scale: float
    glance: Glance

    @classmethod
    def of(cls, text: Text, vector: Floats, background: Floats, scale: float) -> "Asked":
        return cls(text, vector, background, scale, Glance.of(text.reading))


@dataclass(frozen=True, slots=True)
class Search:
    """One text among one shelf's requests; all arrays are of (requests,).

    Attributes:
        active: the requests that are seen.
        bound: the cosine without evidence from which a request is near.
        keyed: 1 where one of its keys stands in the text. direct: where that leads to it.
        near_from: the score from which it is near.
    """

    shelf: Shelf
    active: NDArray[np.bool_]
    asked: Asked
    bound: Floats
    keyed: NDArray[np.intp]
    direct: NDArray[np.bool_]
    near_from: Floats

    @classmethod
    def of(
        cls, shelf: Shelf, active: NDArray[np.bool_], led: Mapping[str, Owners], shared: set[str], asked: Asked
    ) -> "Search":
        """`led` are the active requests by key; `shared` are keys that lead to nobody alone."""
        keyed, direct = np.zeros(len(active), np.intp), np.zeros(len(active), np.bool_)
        for key, places in led.items():
            keyed[places] = 1
            if key not in shared:
                direct[places] = True
        reached = shelf.thresholds * np.float32(asked.scale)
        moved = np.minimum(shelf.thresholds, shelf.thresholds + np.float32((asked.scale - 1.0) * NEAR))
        lent = np.float32(LAMBDA * float(asked.background.mean()) - NEAR)
        near_from = np.where(shelf.listing, moved, reached) - np.float32(NEAR)  # as `Targets.near_from`
        return cls(shelf, active, asked, reached + lent, keyed, direct, near_from)

    def run(self) -> tuple[Scored, bool]:
        """The scores of those that may be touched or near, the higher one counts; and whether some were left out."""
        rows, most = self._suggested()
        alike, crowded = self._alike(rows, most)
        if (judges := self.shelf.judges) is None:
            return alike, crowded
        known, more = self._known(judges, rows, most)
        return alike + known, crowded or more

    def _suggested(self) -> tuple[Rows, Floats]:
        """All rows that may reach their limits, or `LIKE`, and what their cosines do not exceed."""
        shelf, vector = self.shelf, self.asked.vector
        limit = float((self.bound - shelf.highest[0]).min())
        rows, most = shelf.nearest.suggest(vector, limit if shelf.judges is None else min(limit, LIKE))
        keyed = np.flatnonzero(self.keyed)
        if not len(keyed):
            return rows, most
        others = self.keyed.take(shelf.owners.take(rows)) == 0
        led = _ranges(shelf.starts[keyed], shelf.starts[keyed + 1])
        return np.concatenate([rows[others], led]), np.concatenate([most[others], shelf.nearest.most(vector, led)])

    def _alike(self, rows: Rows, most: Floats) -> tuple[Scored, bool]:
        """By likeness to questions."""
        shelf, asked = self.shelf, self.asked
        limits = self._limits(rows)
        rows, limits = _where(most >= limits, rows, limits)
        ranks = shelf.nearest.cosines(asked.vector, rows) + np.float32(shelf.nearest.error) - limits
        owners = shelf.owners.take(rows)
        rows, ranks = _where((ranks >= 0.0) & self.active[owners] & ~shelf.listing[owners], rows, ranks)
        best = self._best(rows, ranks)
        rows.sort()
        places, groups = self._grouped(rows)
        some, crowded = _likeliest(best[places])
        targets = self._requests(places[some])
        found = margins(targets, [groups[i] for i in some.tolist()], asked.text, asked.vector, asked.background)
        return self._near(places[some], found), crowded

    def _limits(self, rows: Rows) -> Floats:
        """The cosines at which rows make their requests near, (n,)."""
        owners = self.shelf.owners.take(rows)
        limits: Floats = self.bound.take(owners) - self.shelf.lifts[0].take(rows)
        keyed = np.flatnonzero(self.keyed.take(owners))  # few, of very many
        limits[keyed] = self.bound[owners[keyed]] - self.shelf.lifts[1].take(rows[keyed])
        return limits

    def _known(self, judges: Judges, rows: Rows, most: Floats) -> tuple[Scored, bool]:
        """By what requests know of their subjects: whom distances allow, then whom cosines do."""
        shelf, asked = self.shelf, self.asked
        high = self._best(rows, most)
        considered = np.flatnonzero(self.active & (self.direct | (high >= LIKE)))
        high = np.maximum(high, np.float32(LIKE))
        facts, judged = considered[shelf.listing[considered]], considered[~shelf.listing[considered]]
        facts = facts[self._related(facts, high) >= self.near_from[facts]]
        apart = judges.unnamed(judged, asked.glance)
        named, plain = judged[~apart], judged[apart]
        unnamed = Unnamed.of(judges, plain, asked.glance, asked.vector)
        left = unnamed.ceilings(high[plain], asked.background) >= self.near_from[plain]
        plain, unnamed = plain[left], unnamed.among(left)
        named = np.concatenate([facts, named])

        kept = np.zeros(len(self.active), np.bool_)
        kept[plain] = kept[named] = True
        rows, most = _where(kept[shelf.owners.take(rows)], rows, most)
        rows, cosines, best = self._nearest(rows, most, high)
        cleared = ~self.direct & (best + np.float32(shelf.nearest.error) < LIKE)
        left = ~cleared[plain]
        plain, unnamed, named = plain[left], unnamed.among(left), named[~cleared[named]]
        scored, crowded = self._unnamed(plain, unnamed, rows, cosines, best)
        more, crowding = self._named(named, best)
        return scored + more, crowded or crowding

    def _nearest(self, rows: Rows, most: Floats, high: Floats) -> tuple[Rows, Floats, Floats]:
        """Of each request the rows that may be its nearest, ascending, their cosines, and the highest of them.

        Args:
            high: the highest of `most`, (requests,).
        """
        nearest, vector = self.shelf.nearest, self.asked.vector
        first = most >= high[self.shelf.owners.take(rows)]
        (some,) = _where(first, rows)
        least = self._best(some, nearest.cosines(vector, some)) - np.float32(2 * nearest.error)
        (rows,) = _where(first | (most >= least[self.shelf.owners.take(rows)]), rows)
        rows.sort()
        cosines = nearest.cosines(vector, rows)
        return rows, cosines, self._best(rows, cosines)

    def _unnamed(
        self, plain: Places, unnamed: Unnamed, rows: Rows, cosines: Floats, best: Floats
    ) -> tuple[Scored, bool]:
        shelf, asked = self.shelf, self.asked
        error = np.float32(shelf.nearest.error)
        ranks = unnamed.ceilings(np.maximum(best[plain] + error, np.float32(LIKE)), asked.background)
        some, crowded = _likeliest(ranks - self.near_from[plain])
        plain, unnamed = plain[some], unnamed.among(some)
        (close,) = _where(cosines >= best[shelf.owners[rows]] - 2 * error, rows)
        places, groups = self._grouped(close)
        nearest, whole = dict(zip(places.tolist(), groups, strict=True)), best - error < LIKE
        targets = self._requests(plain)
        decide = [
            np.arange(len(one.positives)) if all_ else nearest[place]
            for place, one, all_ in zip(plain.tolist(), targets, whole[plain].tolist(), strict=True)
        ]
        found = judgements(targets, decide, unnamed, asked.vector, asked.background)
        return self._near(plain, found), crowded

    def _named(self, named: Places, best: Floats) -> tuple[Scored, bool]:
        """Whoever the text may name, and those that list facts: one by one."""
        asked, error = self.asked, self.shelf.nearest.error
        within = [
            Within(one, cosine - error, cosine + error) if cosine + error >= LIKE else Within(one, -1.0, LIKE)
            for one, cosine in zip(self._requests(named), best[named].tolist(), strict=True)
        ]
        most = np.array(ceilings(within, asked.text, asked.vector, asked.background), np.float32)
        some, crowded = _likeliest(most - self.near_from[named])
        named, vectors, background = named[some], asked.vector[None], asked.background[None]
        found = [one.scores([asked.text], vectors, background)[0] for one in self._requests(named)]
        return self._near(named, np.array(found, np.float32)), crowded

    def _near(self, places: Places, scores: Floats) -> Scored:
        """Without those that prove to be far."""
        places, scores = _where(scores >= self.near_from[places], places, scores)
        return list(zip(self._requests(places), scores.tolist(), strict=True))

    def _related(self, facts: Places, high: Floats) -> Floats:
        """What the scores of these requests do not exceed, of those that list facts; (n,)."""
        shelf, keyed = self.shelf, self.keyed[facts]
        logits = relating(high[facts], shelf.highest[keyed, facts])
        return np.asarray(shelf.thresholds[facts] + LOGIT * np.where(keyed, np.maximum(logits, 0.0), logits))

    def _best(self, rows: Rows, cosines: Floats) -> Floats:
        """The highest of each request's rows, -1 where there are none; (requests,)."""
        best = np.full(len(self.active), -1.0, np.float32)
        np.maximum.at(best, self.shelf.owners.take(rows), cosines)
        return best

    def _grouped(self, rows: Rows) -> tuple[Places, list[Places]]:
        """The places of the requests that ascending rows belong to, and each one's rows, numbered from 0."""
        owners = self.shelf.owners.take(rows)
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        own = rows - self.shelf.starts.take(owners)
        bounds = pairwise([*starts.tolist(), len(rows)])
        return owners[starts].astype(np.intp), [own[start:end] for start, end in bounds]

    def _requests(self, places: Places) -> list[Targets]:
        return [self.shelf.requests[place] for place in places.tolist()]


def _likeliest(ranks: Floats) -> tuple[Places, bool]:
    """Whose rank is not below 0, at most `_CROWD` and then the highest, and whether there were more."""
    some = np.flatnonzero(ranks >= 0.0)
    if len(some) <= _CROWD:
        return some, False
    return some[np.argsort(-ranks[some], kind="stable")[:_CROWD]], True


def _ranges(starts: Rows, ends: Rows) -> Rows:
    """The numbers from each start to its end, (n,)."""
    counts = ends - starts
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def _where(kept: NDArray[np.bool_], *arrays: Any) -> tuple[Any, ...]:
    at = np.flatnonzero(kept)
    return tuple(array.take(at) for array in arrays)
