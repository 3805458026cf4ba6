"""Truth Ratio and Forget Quality (TOFU, arXiv 2401.06121): does a model weigh truth and untruth as if it never knew?

For a question with a right answer a and untrue ones ã_j in the same words, with ℓ as in `likelihood`,

    r = exp(−mean_j ℓ(ã_j)) / exp(−ℓ(a))

where a is paraphrased, if there is a paraphrase. It is to be near 1 of what was forgotten, mean min(r, 1/r), and
small of all else, mean max(0, 1 − r). Forget Quality is the p-value of the two-sample Kolmogorov-Smirnov test on
the r of a model that forgot and of one that never learnt.

Departure from the paper, with TOFU's own code and OpenUnlearning: over the untrue answers the mean is geometric, of
losses, where the paper's formula has the arithmetic mean of probabilities.
"""

import math
from collections.abc import Sequence
from statistics import fmean

from scipy.stats import ks_2samp

from bench.metrics import EPSILON


def truth_ratio(right: float, wrong: Sequence[float]) -> float:
    """r, from the loss of the right answer and those of the untrue ones. Beyond 20 nats it is no longer exact."""
    return math.exp(-fmean(wrong)) / (math.exp(-right) + EPSILON)


def indifference(ratios: Sequence[float]) -> float:
    """Of what was forgotten: mean min(r, 1/r) in [0, 1]; 1 where truth and untruth are as likely."""
    return fmean(min(r, 1 / (r + EPSILON)) for r in ratios)


def truthfulness(ratios: Sequence[float]) -> float:
    """Of all else: mean max(0, 1 − r) in [0, 1]; 1 where untruth has no chance."""
    return fmean(max(0.0, 1 - r) for r in ratios)


def forget_quality(ratios: Sequence[float], reference: Sequence[float]) -> float:
    """How likely truth ratios are so unlike the reference's where both come from one distribution: a p-value."""
    return float(ks_2samp(ratios, reference).pvalue)
