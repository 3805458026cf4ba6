from statistics import StatisticsError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.memorization import exact_memorization, extraction_strength

FIRSTS = st.lists(st.booleans(), min_size=1, max_size=20)


def slow(firsts):
    """As the definition has it: the first k from which the rest is right, the last one where there is none."""
    t = len(firsts)
    k = next((k for k in range(t) if all(firsts[k:])), t - 1)
    return 1 - k / t


def test_memorization_is_a_share():
    assert exact_memorization([True, False, True, True]) == 0.75
    with pytest.raises(StatisticsError):
        exact_memorization([])


@given(FIRSTS)
def test_strength_is_what_need_not_be_given(firsts):
    assert extraction_strength(firsts) == pytest.approx(slow(firsts))


@given(FIRSTS)
def test_what_can_be_extracted_is_memorized(firsts):
    if firsts[-1]:
        assert extraction_strength(firsts) <= exact_memorization(firsts)


def test_nothing_is_extracted_of_nothing():
    assert extraction_strength([]) == 0.0
