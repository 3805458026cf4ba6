"""Model Utility (TOFU, arXiv 2401.06121): what a model still knows, as one number.

The harmonic mean of nine: Probability, ROUGE-L recall and Truth Ratio, each on the retain set, on real authors and on
world facts. Where one of them breaks down, so does the mean.
"""

from dataclasses import astuple, dataclass

from scipy.stats import hmean


@dataclass(frozen=True, slots=True)
class Ability:
    """Means over one set, all in [0, 1] and better when greater.

    Attributes:
        probability: against wrong answers for real authors and world facts.
        rouge: ROUGE-L recall.
        truthfulness: of the truth ratios.
    """

    probability: float
    rouge: float
    truthfulness: float


def model_utility(retain: Ability, real_authors: Ability, world_facts: Ability) -> float:
    """In [0, 1]; 0 where one of the nine is."""
    return float(hmean([part for ability in (retain, real_authors, world_facts) for part in astuple(ability)]))
