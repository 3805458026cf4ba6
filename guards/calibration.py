"""Thresholds with a stated error rate.

Split conformal prediction over leave-one-out scores: with n exchangeable positives, a threshold at
the ⌊α(n+1)⌋-th smallest score misses at most α. Clopper-Pearson gives the upper bound of a rate
from counts. numpy and math only: scipy is not needed to serve.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a threshold came about; no text in it.

    Attributes:
        positives, negatives: how many leave-one-out scores it rests on.
        alpha: the share of positives it may miss.
        miss: share of the leave-one-out positives below the threshold.
        miss_upper, false_positive_upper: one-sided 95 % Clopper-Pearson bounds of both error rates.
        separable: whether a threshold exists that satisfies both sides.
    """

    method: str
    alpha: float
    positives: int
    negatives: int
    miss: float
    miss_upper: float
    false_positive: float
    false_positive_upper: float
    separable: bool

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


UNCALIBRATED = Calibration("none", 1.0, 0, 0, 0.0, 1.0, 0.0, 1.0, separable=False)


def conformal_lower(scores: Sequence[float], alpha: float) -> float:
    """The highest threshold that misses at most `alpha` of the positives; −inf when too few to say."""
    rank = math.floor(alpha * (len(scores) + 1))
    return sorted(scores)[rank - 1] if rank >= 1 else -math.inf


def clopper_pearson_upper(errors: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of a rate after `errors` in `n`: 0/300 → 0.0099; 1 when there is no data."""
    if errors >= n:
        return 1.0
    low, high = errors / n, 1.0
    for _ in range(60):  # bisection on P(X ≤ errors | rate) = 1 − confidence
        rate = (low + high) / 2
        low, high = (rate, high) if _binomial_cdf(errors, n, rate) > 1 - confidence else (low, rate)
    return high


def _binomial_cdf(k: int, n: int, rate: float) -> float:
    if rate <= 0.0 or rate >= 1.0:
        return 1.0 if rate <= 0.0 else 0.0
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(rate)
        + (n - i) * math.log1p(-rate)
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def calibrate(
    positives: Sequence[float], negatives: Sequence[float], *, floor: float, ceiling: float, alpha: float = 0.05
) -> tuple[float, Calibration]:
    """A threshold between what must and what must not be touched, and its record.

    Both sides satisfied: halfway between the highest negative and the conformal bound of the
    positives. Otherwise just above the highest negative: what the positives then miss is stated, and
    names are the lexicon's to find. Never outside [floor, ceiling].

    Args:
        positives, negatives: leave-one-out scores.
    """
    bound = conformal_lower(positives, alpha)
    highest = max(negatives, default=floor)
    separable = bound > highest
    wanted = (bound + highest) / 2 if separable else math.nextafter(highest, math.inf)
    threshold = min(max(wanted, floor), ceiling)
    return threshold, assess("conformal leave-one-out", positives, negatives, threshold, alpha, separable)


def assess(
    method: str,
    positives: Sequence[float],
    negatives: Sequence[float],
    threshold: float,
    alpha: float = 1.0,
    separable: bool = False,
) -> Calibration:
    """The record of a threshold: what it misses and what it wrongly touches, of scores that it has not seen."""
    missed = sum(score < threshold for score in positives)
    wrong = sum(score >= threshold for score in negatives)
    return Calibration(
        method=method,
        alpha=alpha,
        positives=len(positives),
        negatives=len(negatives),
        miss=missed / max(1, len(positives)),
        miss_upper=clopper_pearson_upper(missed, len(positives)),
        false_positive=wrong / max(1, len(negatives)),
        false_positive_upper=clopper_pearson_upper(wrong, len(negatives)),
        separable=separable,
    )
