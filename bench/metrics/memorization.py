"""What a model can recite: token by token, and from a prefix.

Exact Memorization (Tirumala et al., arXiv 2205.10770): the share of an answer's tokens that are the model's first
choice, all true tokens before them given. Extraction Strength (Carlini et al., arXiv 2012.07805, as a share):
1 − k/T, where k of T tokens must be given for the rest to be the first choice throughout. What it recites freely,
MUSE's verbatim memorisation (arXiv 2407.06460), is `rouge.f1` of its continuation of a passage and the true one.

Departure, with OpenUnlearning: where not even the last token is the first choice Extraction Strength is 1/T, as if it
alone were, not 0. The end of sequence is no token here.
"""

from collections.abc import Sequence
from itertools import takewhile
from statistics import fmean


def exact_memorization(firsts: Sequence[bool]) -> float:
    """In [0, 1]. `firsts` says of each token of the answer whether it is the model's first choice.

    Raises:
        StatisticsError: there are none.
    """
    return fmean(firsts)


def extraction_strength(firsts: Sequence[bool]) -> float:
    """In [1/T, 1], from the same; 0 where there are none."""
    suffix = sum(1 for _ in takewhile(bool, reversed(firsts)))
    return max(1, suffix) / len(firsts) if firsts else 0.0
