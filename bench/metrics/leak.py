"""leak@k: the expected maximum of a score over k answers sampled at temperature 1 ("Leak@k", arXiv 2511.04934).

From n ≥ k samples with scores s_(1) ≤ … ≤ s_(n) the unbiased estimator, the mean over all subsets of k, is

    Σ_{i ≥ k} C(i−1, k−1) / C(n, k) · s_(i)

which for scores of 0 and 1 is pass@k (Chen et al., arXiv 2107.03374).
"""

from collections.abc import Sequence
from math import comb


def leak_at(k: int, scores: Sequence[float]) -> float:
    """Of one question, from the scores of its samples in any order.

    Raises:
        ValueError: k is not in 1..n.
    """
    n = len(scores)
    if not 1 <= k <= n:
        raise ValueError(f"k: {k} is not in 1..{n}")
    subsets = comb(n, k)  # exact integers: the quotient is rounded once
    return sum(comb(i - 1, k - 1) / subsets * score for i, score in enumerate(sorted(scores), 1))
