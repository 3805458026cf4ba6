import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.uld_speed import Cost, ratio_of

SECONDS = st.floats(1e-4, 1e-1)


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=9))
def test_the_ratio_lies_in_its_interval_and_among_the_rounds(rounds):
    over, under = zip(*rounds, strict=True)
    ratio, low, high = ratio_of(over, under)
    each = [a / b for a, b in rounds]
    assert min(each) <= low <= ratio <= high <= max(each)


def test_a_round_that_was_disturbed_does_not_tell():
    assert ratio_of([1.5, 1.5, 90.0], [1.0, 1.0, 1.0])[0] == 1.5


def test_a_round_in_which_all_was_slow_does_not_tell_either():
    cost = Cost.of(8, 5, [0.001, 0.002, 0.001], [0.0015, 0.003, 0.0015])
    assert (cost.ratio, cost.low, cost.high) == pytest.approx((1.5, 1.5, 1.5))
    assert (cost.bare_ms, cost.steered_ms, cost.rounds) == pytest.approx((1.0, 1.5, 3))
