import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.intervals import Interval


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_mean_lies_within_what_there_can_be(values):
    found = Interval.of(values)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert 0 <= found.low <= found.mean <= found.high <= 1 + 1e-9


def test_it_is_the_same_every_time():
    values = [random.Random(0).random() for _ in range(50)]
    assert Interval.of(values) == Interval.of(values)


@pytest.mark.parametrize("groups", [5, 60])
def test_it_holds_the_truth_as_often_as_it_says(groups):
    rng = random.Random(1)
    held = 0
    for _ in range(500):
        means = [rng.gauss(0.5, 0.1) for _ in range(groups)]
        found = Interval.of(
            [min(1.0, max(0.0, rng.gauss(mean, 0.01))) for mean in means for _ in "four"], _fours(groups)
        )
        held += found.low <= 0.5 <= found.high
    assert 0.92 <= held / 500 <= 0.98


def _fours(groups: int) -> list[int]:
    return [i for i in range(groups) for _ in "four"]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_all_agree_on_is_no_certainty(value):
    few, many = Interval.of([value] * 5), Interval.of([value] * 60)
    assert few.high - few.low == pytest.approx(1 - 0.025**0.2)  # Clopper and Pearson's
    assert many.high - many.low == pytest.approx(1 - 0.025 ** (1 / 60))
    alone = Interval.of([value] * 20, ["one"] * 20)
    assert (alone.low, alone.high) == (pytest.approx(max(0, value - 0.975)), pytest.approx(min(1, value + 0.975)))


def test_groups_that_are_alike_are_as_sure_as_their_items():
    values = [float(i % 4 == 0) for i in range(40)]
    assert Interval.of(values, [i // 4 for i in range(40)]) == Interval.of(values)


def test_a_difference_lies_on_both_sides_of_nought():
    found = Interval.of([-0.2, 0.1, 0.0, 0.05], bounds=(-1, 1))
    assert found.low < 0 < found.high
    assert found.mean == pytest.approx(-0.0125)


def test_like_items_of_a_group_make_no_surer():
    values = [float(i // 20 % 2) for i in range(400)]  # twenty authors, each with one mind
    alone, grouped = Interval.of(values), Interval.of(values, [i // 20 for i in range(400)])
    assert grouped.mean == alone.mean
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_a_statistic_that_is_the_mean_has_the_interval_of_the_mean():
    values = np.array([random.Random(i).random() for i in range(60)])
    groups = [i // 4 for i in range(60)]
    mean, other = Interval.of(values, groups), Interval.of_statistic(lambda at: values[at].mean(), groups)
    assert other.mean == pytest.approx(mean.mean)
    assert (other.low, other.high) == pytest.approx((mean.low, mean.high), abs=0.02)


def test_samples_are_drawn_each_by_itself():
    found = Interval.of_statistic(lambda ours, theirs: float(ours.mean() - theirs.mean()), range(40), range(40))
    assert found.mean == 0
    assert found.low < -3 < 3 < found.high  # were they drawn alike, it were nought always


def test_few_runs_are_less_sure_than_many():
    assert Interval.of_runs([0.5]) is None
    few, many = Interval.of_runs([1.0, 2.0, 3.0]), Interval.of_runs([1.0, 2.0, 3.0] * 5)
    assert (few.mean, few.low) == (2, pytest.approx(2 - 4.302653 / 3**0.5))
    assert many.low > few.low + 1


def test_nothing_has_no_interval():
    with pytest.raises(ValueError, match="none"):
        Interval.of([])
    with pytest.raises(ValueError, match="without items"):
        Interval.of_statistic(len, [])
    with pytest.raises(ValueError, match="shorter"):
        Interval.of([1.0, 2.0], ["a"])
