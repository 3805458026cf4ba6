"""Is an answer fit to be shown? Corrupted embeddings can make a model stammer; garble tells, so it is not served.

Degenerate, as the search penalises it and the pipeline refuses it: nothing said at all, characters
that are not text, one word or one phrase over and over.
"""

import re
from collections import Counter
from itertools import pairwise

_WORD = re.compile(r"\w+")
_LOOP = 4  # a phrase of three words may recur this often
_STUTTER = 3  # a word may follow itself this often


def degeneration(text: str) -> float:
    """How far an answer is from text, in [0, 1]: 0 sound, 1 nothing but repetition or junk."""
    words = [word.casefold() for word in _WORD.findall(text)]
    if not words:
        return 1.0
    junk = sum(not (char.isprintable() or char in "\n\t\r") or char == "�" for char in text) / len(text)
    runs = sum(first == second for first, second in pairwise(words))
    stutter = max(0.0, (runs - _STUTTER + 1) / len(words)) if runs >= _STUTTER else 0.0
    phrases = Counter(zip(words, words[1:], words[2:], strict=False))
    most = max(phrases.values(), default=0)
    loop = 3 * most / len(words) if most > _LOOP else 0.0
    return min(1.0, junk * 4 + stutter * 2 + loop)


def sound(text: str) -> bool:
    """True when the text can be shown."""
    return degeneration(text) < 0.2
