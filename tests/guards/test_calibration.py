import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.calibration import calibrate, clopper_pearson_upper, conformal_lower


@pytest.mark.parametrize(
    ("errors", "n", "upper"), [(0, 300, 0.0099), (0, 2995, 0.0010), (3, 100, 0.0757), (5, 5, 1.0), (0, 0, 1.0)]
)
def test_clopper_pearson(errors, n, upper):
    assert clopper_pearson_upper(errors, n) == pytest.approx(upper, abs=6e-5)


@settings(deadline=None)  # the first call imports scipy
@given(st.integers(0, 40), st.integers(1, 200))
def test_clopper_pearson_agrees_with_scipy(errors, n):
    beta = pytest.importorskip("scipy.stats").beta
    if errors < n:
        assert clopper_pearson_upper(errors, n) == pytest.approx(beta.ppf(0.95, errors + 1, n - errors), abs=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.sampled_from([0.05, 0.1, 0.3]))
def test_conformal_misses_no_more_than_alpha(scores, alpha):
    bound = conformal_lower(scores, alpha)
    assert sum(score < bound for score in scores) <= alpha * (len(scores) + 1)
    assert math.isinf(bound) == (alpha * (len(scores) + 1) < 1)


def test_a_gap_is_halved_and_the_record_is_honest():
    threshold, record = calibrate([0.9] * 40, [0.5] * 60, floor=0.6, ceiling=0.8)
    assert threshold == pytest.approx(0.7)
    assert record.separable
    assert (record.miss, record.false_positive) == (0, 0)
    assert record.miss_upper == pytest.approx(1 - 0.05 ** (1 / 40), abs=1e-6)


def test_where_they_overlap_the_misses_are_stated():
    threshold, record = calibrate([0.5, 0.6, 0.9, 0.9], [0.2, 0.7], floor=0.4, ceiling=0.8)
    assert 0.7 < threshold < 0.7001
    assert not record.separable
    assert (record.miss, record.false_positive) == (0.5, 0)


def test_limits_hold_without_data():
    assert calibrate([], [], floor=0.6, ceiling=0.8)[0] == pytest.approx(0.6)
    threshold, record = calibrate([], [0.95], floor=0.6, ceiling=0.8)
    assert threshold == 0.8
    assert (record.positives, record.miss_upper, record.false_positive) == (0, 1.0, 1.0)
