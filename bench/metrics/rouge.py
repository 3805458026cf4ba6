"""ROUGE-L (Lin 2004) with Porter's stemmer: the longest common subsequence of words, over the gold answer's (recall),
or as F1 with the answer's own.

TOFU (arXiv 2401.06121) takes recall, MUSE (arXiv 2407.06460) F1. Departure from MUSE, with OpenUnlearning: stemmed
there too. Words are runs of a to z and 0 to 9: of an answer in another script nothing is seen, and it scores 0.
"""

from functools import cache

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import Score


def recall(gold: str, said: str) -> float:
    """The share of the gold answer's words that were said, in order."""
    return float(_rouge(gold, said).recall)


def f1(gold: str, said: str) -> float:
    """The same, but what was said besides counts against it."""
    return float(_rouge(gold, said).fmeasure)


def _rouge(gold: str, said: str) -> Score:
    return _scorer().score(gold, said)["rougeL"]


@cache
def _scorer() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=True)
