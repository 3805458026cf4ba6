"""What a model can recite: token by token, from a prefix, and freely.

Exact Memorization (Tirumala et al., arXiv 2205.10770): the share of an answer's tokens that are the model's first
choice, all true tokens before them given. Extraction Strength (Carlini et al., arXiv 2012.07805, as a share):
1 − k/T, where k of T tokens must be given for the rest to be the first choice throughout. Verbatim memorisation
(MUSE, arXiv 2407.06460): ROUGE-L F1 of what a passage's start is continued with and its true continuation.

Departure, with OpenUnlearning: where not even the last token is the first choice Extraction Strength is 1/T, as if it
alone were, not 0. The end of sequence is no token here.
"""

from collections.abc import Iterable, Sequence
from itertools import takewhile
from statistics import fmean

from bench.metrics.rouge import f1

CONTINUATION = 128  # tokens that MUSE continues a passage by


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


def verbatim_memorization(pairs: Iterable[tuple[str, str]]) -> float:
    """Mean over passages, each with its true continuation and the model's, both of `CONTINUATION` tokens."""
    return fmean(f1(true, said) for true, said in pairs)
