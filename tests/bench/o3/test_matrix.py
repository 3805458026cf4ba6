import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.o3.matrix import Matrix, drift_of


def test_leak_is_what_the_retain_model_does_not_guess():
    one = Matrix((10, 20), (1, 4), ((1, 3), (2,)))
    assert one.leak == [[0.0, 0.2], [-0.1]]
    assert one.worst == 0.2
    assert one.pooled == pytest.approx(0.0)  # after the second: two above of ten, two below of twenty
    rows = json.loads(json.dumps(one.rows()))
    assert [row["leak"] for row in rows] == [[0.0, 20.0], [-10.0]]
    assert [row["retain_model"] for row in rows] == [0.1, 0.2]


@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.integers(0, 5), min_size=n, max_size=n)))
def test_what_never_moves_does_not_drift(right):
    count = len(right)
    still = Matrix((5,) * count, (0,) * count, tuple((n,) * (count - i) for i, n in enumerate(right)))
    found = drift_of([still, still])
    assert found is not None
    assert found.slope == pytest.approx(0.0)
    assert found.p > 0.05


def test_what_each_request_adds_to_those_before_it_is_drift():
    rising = Matrix((50,) * 6, (2,) * 6, tuple(tuple(2 + step for step in range(6 - i)) for i in range(6)))
    found = drift_of([rising, rising])
    assert found is not None
    assert found.slope == pytest.approx(0.02)
    assert found.p < 0.05


def test_a_single_step_tells_of_no_drift():
    assert drift_of([Matrix((5,), (0,), ((0,),))]) is None
