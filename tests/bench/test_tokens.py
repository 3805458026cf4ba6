import math

from hypothesis import given
from hypothesis import strategies as st

from bench.tokens import ratio_of

SECONDS = st.floats(1e-4, 1e-1)


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=2, max_size=9))
def test_the_ratio_lies_in_its_interval_and_among_the_rounds(rounds):
    over, under = zip(*rounds, strict=True)
    ratio, low, high = ratio_of(over, under)
    each = [a / b for a, b in rounds]
    assert min(each) <= low <= ratio <= high <= max(each)


def test_a_round_that_was_disturbed_does_not_tell():
    assert ratio_of([1.5, 1.5, 90.0], [1.0, 1.0, 1.0])[0] == 1.5
    assert [*map(math.isnan, ratio_of([1.5], [1.0]))] == [False, True, True]
