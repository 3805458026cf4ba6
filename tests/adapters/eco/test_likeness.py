import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.eco.likeness import rouge_l

WORDS = st.lists(st.sampled_from(["a", "B", "c", "d!"]), max_size=9).map(" ".join)


def slow_rouge_l(a, b):
    """ROUGE-L by the definition: the longest of all common subsequences."""
    first, second = (tuple(re.findall(r"\w+", text.casefold())) for text in (a, b))

    @cache
    def common(i, j):
        if i == len(first) or j == len(second):
            return 0
        if first[i] == second[j]:
            return 1 + common(i + 1, j + 1)
        return max(common(i + 1, j), common(i, j + 1))

    longest = common(0, 0)
    if not first or not second:
        return 1.0 if first == second else 0.0
    precision, recall = longest / len(first), longest / len(second)
    return 2 * precision * recall / (precision + recall) if longest else 0.0


@given(WORDS, WORDS)
def test_it_is_what_the_definition_says(a, b):
    assert rouge_l(a, b) == pytest.approx(slow_rouge_l(a, b))
    assert rouge_l(a, b) == rouge_l(b, a)


@given(st.text(max_size=60))
def test_a_text_is_like_itself(text):
    assert rouge_l(text, text) == 1.0


def test_case_and_punctuation_do_not_count():
    assert rouge_l("She lives in ULM.", "she, lives in Ulm") == 1.0
    assert rouge_l("yes", "no") == 0.0
