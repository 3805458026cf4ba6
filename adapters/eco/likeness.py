"""How alike two answers are: ROUGE-L (Lin 2004), the F1 of their longest common subsequence of words."""

import re

_WORD = re.compile(r"\w+")


def words(text: str) -> frozenset[str]:
    """The different words of a text; case and punctuation do not count."""
    return frozenset(_WORD.findall(text.casefold()))


def rouge_l(a: str, b: str) -> float:
    """In [0, 1]; case and punctuation do not count. Two empty texts are alike."""
    first, second = _WORD.findall(a.casefold()), _WORD.findall(b.casefold())
    if not first or not second:
        return float(first == second)
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for j, other in enumerate(second, 1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(above, row[j - 1])
            diagonal = above
    return 2 * row[-1] / (len(first) + len(second))
