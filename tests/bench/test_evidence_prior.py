import numpy as np
import pytest

from bench.evidence_prior import NoThresholds, _Rows, _thresholds

KINDS = np.array(["touched"] * 10 + ["neighbours"] * 10 + ["others"] * 1000)


def rows():
    none = np.zeros((len(KINDS), 1), np.float32)
    return _Rows(none, none, KINDS, KINDS)


def scores(**by_kind):
    return np.array([by_kind[kind] for kind in KINDS], np.float32)


def test_thresholds_touch_what_must_be_and_no_more_others_than_is_allowed():
    asked, answered = scores(touched=2, neighbours=0, others=1), scores(touched=0, neighbours=0, others=1)
    sure = np.zeros(len(KINDS), np.bool_)
    one, two = _thresholds(asked, answered, sure, rows())
    assert 1 <= one < 2
    assert two == 1


def test_where_no_thresholds_do_there_are_none():
    asked = answered = scores(touched=2, neighbours=0, others=1)
    with pytest.raises(NoThresholds):
        _thresholds(asked, answered, KINDS == "neighbours", rows())
