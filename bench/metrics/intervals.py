"""How sure a mean over items is: Student's t over groups of items, as of a ratio (Cochran 1977, chapter 6).

Questions about one author are alike, so a group counts as one observation: treated as independent, 400 questions about
twenty authors would look surer than they are. Of few groups the bootstrap's percentiles are too narrow (of five they
hold the truth in 84 % of cases, Student's t in 95 %), so only statistics that are no mean are left to it (Efron 1979).
A share of independent trials has `gateway.registry.Rate`.

Near nought and one neither is good: a mean that differs from them by little has a narrow interval, and one that does
not differ, of which less is known, the wide one of `Interval.of`. Read the two as one.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

RESAMPLES = 2_000
_TAIL = 0.025

Places = NDArray[np.intp]  # of items in a sample, some of them more than once


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, or a statistic, and its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(
        cls, values: Sequence[float], groups: Sequence[Hashable] | None = None, bounds: tuple[float, float] = (0, 1)
    ) -> "Interval":
        """Of items that each belong to a group, by default one of its own.

        Items that all agree, or a group alone, say nothing of how groups scatter: then the next ones may differ by 1
        as often as would have gone unseen in so many, with a probability of 2.5 %. Where groups agree, and their items
        do not, each item is a group.

        Args:
            values: shares, or differences of shares with `bounds` of (-1, 1).

        Raises:
            ValueError: there are no items, or not a group for each.
        """
        if not len(values):
            raise ValueError("values: there are none")
        totals: dict[Hashable, tuple[float, int]] = {}
        for value, group in zip(values, range(len(values)) if groups is None else groups, strict=True):
            total, count = totals.get(group, (0.0, 0))
            totals[group] = total + value, count + 1
        sums, sizes = np.array(list(totals.values())).T  # [groups] each
        mean, n = float(sums.sum() / sizes.sum()), len(sums)
        off = sums - sizes * mean
        if n == 1 or np.allclose(values, mean):
            half = 1 - _TAIL ** (1 / n)
        elif np.allclose(off, 0):
            return cls.of(values, bounds=bounds)
        else:
            half = float(t.ppf(1 - _TAIL, n - 1)) * sqrt(n / (n - 1) * float(off @ off)) / float(sizes.sum())
        lowest, highest = bounds
        return cls(mean, min(mean, max(mean - half, lowest)), max(mean, min(mean + half, highest)))

    @classmethod
    def of_statistic(
        cls, statistic: Callable[..., float], *samples: Sequence[Hashable], seed: int = 0, resamples: int = RESAMPLES
    ) -> "Interval":
        """Of any statistic of one or more independent samples, whose groups are drawn anew each.

        Args:
            statistic: told for each sample the places of the items that count, [items].
            samples: of each, the group of every item.

        Raises:
            ValueError: there is a sample without items.
        """
        if not all(map(len, samples)):
            raise ValueError("samples: there is one without items")
        rng = np.random.default_rng(seed)
        grouped = [_grouped(groups) for groups in samples]
        found = [
            statistic(*(np.concatenate([own[i] for i in rng.integers(len(own), size=len(own))]) for own in grouped))
            for _ in range(resamples)
        ]
        low, high = np.quantile(found, [0.025, 0.975])
        return cls(float(statistic(*(np.arange(len(groups)) for groups in samples))), float(low), float(high))

    @classmethod
    def of_runs(cls, values: Sequence[float]) -> "Interval | None":
        """Of a mean over runs that differ by their seeds, by Student's t; None where there is one run alone."""
        if len(values) < 2:
            return None
        mean, half = fmean(values), float(t.ppf(1 - _TAIL, len(values) - 1)) * stdev(values) / sqrt(len(values))
        return cls(mean, mean - half, mean + half)

    def row(self) -> dict[str, float]:
        """As results have it."""
        return {"value": self.mean, "low": self.low, "high": self.high}


def _grouped(groups: Sequence[Hashable]) -> list[Places]:
    """The places of each group's items."""
    places: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    return [np.array(own) for own in places.values()]
