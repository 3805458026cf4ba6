import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.scale import Scale

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


@given(values)
def test_every_value_is_on_the_axis_in_order(some):
    scale = Scale.over(some, 10, 110)
    near = 1e-6 * (scale.high - scale.low)
    assert scale.low <= min(some) + near
    assert scale.high >= max(some) - near
    places = [scale(value) for value in sorted(some)]
    assert places == sorted(places)
    assert all(10 <= place <= 110 for place in places)
    assert 2 <= len(scale.ticks) <= 9
    assert all(10 - 1e-6 <= scale(tick) <= 110 + 1e-6 for tick in scale.ticks)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_p_values_of_nought_have_a_place(some):
    scale = Scale.over(some, 0, 100, log=True)
    assert all(0 <= scale(value) <= 100 for value in some)


def test_ticks_are_round():
    assert Scale.over([65.4, 100], 0, 1).ticks == [65, 70, 75, 80, 85, 90, 95, 100]
    assert Scale.over([1, 128], 0, 1, log=True).ticks == [1, 2, 5, 10, 20, 50, 100]
    assert Scale.over([0.02, 0.9], 0, 1).ticks[0] == 0


@pytest.mark.parametrize("some", [[], [100.0], [0.0], [100.0, 100 * (1 + 1e-15)]])
def test_one_value_has_room_about_it(some):
    scale = Scale.over(some, 0, 100)
    assert scale.low < scale.high
    assert all(0 < scale(value) < 100 for value in some)


def test_a_lower_p_is_lower_on_an_axis_that_goes_up():
    scale = Scale.over([1e-30, 1], 300, 50, log=True)
    assert scale(1e-30) > scale(1e-10) > scale(1)


def test_nought_lies_at_the_low_end_of_a_logarithm_and_does_not_stretch_it():
    scale = Scale.over([0.0, 1e-6, 1.0], 0, 100, log=True)
    assert scale(0.0) == 0
    assert 0 < scale(1e-6) < 10


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_known_does_not_stretch_an_axis(unknown, log):
    scale = Scale.over([unknown, 1.0, 100.0], 0, 100, log=log)
    assert scale == Scale.over([1.0, 100.0], 0, 100, log=log)
    assert Scale.over([unknown], 0, 100, log=log) == Scale.over([], 0, 100, log=log)
    assert 0 <= scale(unknown) <= 100
