import math
from statistics import StatisticsError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.likelihood import loss, probability, probability_among

LOSSES = st.floats(0, 15)


def test_a_probability_is_the_geometric_mean_of_the_tokens():
    assert probability(loss([math.log(0.5), math.log(0.125)])) == pytest.approx(0.25)


def test_an_answer_has_tokens():
    with pytest.raises(StatisticsError):
        loss([])


def test_among_others_it_is_a_share():
    one, three = -math.log(0.1), -math.log(0.3)
    assert probability_among(one, [one, three]) == pytest.approx(0.2)
    assert probability_among(one, []) == pytest.approx(1)
    assert probability_among(1000.0, [1000.0]) == 0.0


@given(LOSSES, st.lists(LOSSES, min_size=1, max_size=5), st.floats(0.01, 5))
def test_a_less_likely_answer_has_a_smaller_share(right, wrong, nats):
    assert 0 <= probability_among(right + nats, wrong) < probability_among(right, wrong) <= 1
