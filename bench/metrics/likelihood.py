"""How likely an answer is: TOFU's Probability (arXiv 2401.06121).

    ℓ = −mean_t log p(a_t | q, a_<t),  P = exp(−ℓ) = p(a | q)^(1/|a|)

and where an answer stands against wrong ones, as for real authors and world facts, P / (P + Σ_wrong P).
The column of a table is the mean over items.
"""

import math
from collections.abc import Sequence
from statistics import fmean

from bench.metrics import EPSILON


def loss(tokens: Sequence[float]) -> float:
    """ℓ, from the log-probabilities of an answer's tokens, its end among them.

    Raises:
        StatisticsError: there are none.
    """
    return -fmean(tokens)


def probability(right: float) -> float:
    """P in [0, 1], from the loss of the answer."""
    return math.exp(-right)


def probability_among(right: float, wrong: Sequence[float]) -> float:
    """P of the right answer as a share of that of all, from their losses; near 0 where the model deems none likely."""
    own = probability(right)
    return own / (own + math.fsum(map(probability, wrong)) + EPSILON)
