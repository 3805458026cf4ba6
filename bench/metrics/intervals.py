"""How sure a mean over items is: the percentile bootstrap (Efron 1979) over groups of items.

Questions about one author are alike, so whole groups are drawn anew: treated as independent, 400 questions about
twenty authors would look surer than they are. A share of independent trials has `gateway.registry.Rate`.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the middle 95 % of it when groups are drawn anew."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], groups: Sequence[Hashable] | None = None, seed: int = 0) -> "Interval":
        """Of items that each belong to a group, by default one of its own.

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
        drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
        low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
        return cls(float(sums.sum() / sizes.sum()), float(low), float(high))
