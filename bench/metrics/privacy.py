"""Was a text trained on? Membership inference, as an attacker who sees log-probabilities would try it.

Every attack gives a text a score, greater where it looks less like training data:

    loss        ℓ
    zlib        ℓ / bytes of the text when compressed            (Carlini et al., arXiv 2012.07805)
    reference   ℓ − ℓ of a model that was not trained on it       (the same)
    Min-K       −mean of the least likely 40 % of log p_t          (Shi et al., arXiv 2310.16789)
    Min-K++     the same of (log p_t − μ_t) / σ_t, the mean and deviation of log p over the vocabulary at t
                                                                   (Zhang et al., arXiv 2404.02936)

The AUC is of members (the forget set) against others (holdout): the chance that one of the others scores above a
member, 1 where the model gives its training away, ½ where it does not. PrivLeak (MUSE, arXiv 2407.06460) is where a
model stands beside one that was never trained on the forget set, in per cent. Losses include the end of sequence;
the tokens of Min-K and Min-K++ do not.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from bench.metrics import EPSILON

_LEAST_VARIANCE = 1e-6  # of a vocabulary of which one token is certain


def zlib_score(loss: float, text: str) -> float:
    """The loss for each byte that the text has when compressed: what repeats itself is likely anyhow."""
    return loss / len(zlib.compress(text.encode()))


def reference_score(loss: float, reference: float) -> float:
    """The loss beyond that of a reference model."""
    return loss - reference


def min_k(tokens: Sequence[float], share: float = 0.4) -> float:
    """From the log-probabilities of the tokens.

    Raises:
        ValueError: there are none.
    """
    if not len(tokens):
        raise ValueError("tokens: there are none")
    return -float(np.mean(np.sort(tokens)[: max(1, int(len(tokens) * share))]))


def min_k_plus_plus(
    tokens: Sequence[float], means: Sequence[float], variances: Sequence[float], share: float = 0.4
) -> float:
    """Min-K of standardised tokens, from the mean and the variance of the log-probability at each place."""
    deviations = np.sqrt(np.maximum(variances, _LEAST_VARIANCE))
    return min_k(((np.asarray(tokens) - means) / deviations).tolist(), share)


def auc(members: Sequence[float], others: Sequence[float]) -> float:
    """In [0, 1], from the scores of an attack; equal scores count one half (Mann and Whitney's U over the pairs)."""
    ranks = rankdata([*others, *members])[: len(others)]
    return float(ranks.sum() / len(others) - (len(others) + 1) / 2) / len(members)


def priv_leak(model: float, retain: float = 0.5) -> float:
    """Per cent, from the AUCs of the model and of the retain model: below 0 the model still knows its members, above
    it knows suspiciously little. Without a retain model chance takes its place, as in OpenUnlearning."""
    return 100 * (retain - model) / (1 - retain + EPSILON)
