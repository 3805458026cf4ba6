from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.leak import leak_at

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=9)


@given(SCORES, st.data())
def test_it_is_the_mean_maximum_over_all_subsets(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    highest = [max(some) for some in combinations(scores, k)]
    assert leak_at(k, scores) == pytest.approx(sum(highest) / len(highest))


@given(SCORES)
def test_more_samples_leak_more(scores):
    curve = [leak_at(k, scores) for k in range(1, len(scores) + 1)]
    assert all(b >= a - 1e-12 for a, b in pairwise(curve))
    assert curve[-1] == pytest.approx(max(scores))


def test_many_samples_are_no_trouble():
    scores = [0.0] * 199 + [1.0]
    assert leak_at(128, scores) == pytest.approx(128 / 200)


@pytest.mark.parametrize("k", [0, 3])
def test_k_lies_within_the_samples(k):
    with pytest.raises(ValueError, match="k"):
        leak_at(k, [0.1, 0.2])
