import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.intervals import Interval


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_mean_lies_within_what_there_is(values):
    found = Interval.of(values)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_it_is_the_same_every_time():
    values = [random.Random(0).random() for _ in range(50)]
    assert Interval.of(values) == Interval.of(values)


def test_it_holds_the_truth_as_often_as_it_says():
    rng = random.Random(1)
    held = 0
    for _ in range(200):
        found = Interval.of([rng.random() for _ in range(60)])
        held += found.low <= 0.5 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_like_items_of_a_group_make_no_surer():
    values = [float(i // 20 % 2) for i in range(400)]  # twenty authors, each with one mind
    alone, grouped = Interval.of(values), Interval.of(values, [i // 20 for i in range(400)])
    assert grouped.mean == alone.mean
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="none"):
        Interval.of([])
    with pytest.raises(ValueError, match="shorter"):
        Interval.of([1.0, 2.0], ["a"])
