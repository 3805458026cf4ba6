import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.truth import forget_quality, indifference, truth_ratio, truthfulness

LOSSES = st.floats(0, 15)
RATIOS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


def test_untrue_answers_are_averaged_as_losses():
    wrong = [-math.log(0.1), -math.log(0.4)]
    assert truth_ratio(-math.log(0.5), wrong) == pytest.approx(0.4)


@given(LOSSES, st.lists(LOSSES, min_size=1, max_size=4), st.floats(0.1, 5))
def test_what_makes_the_truth_less_likely_raises_the_ratio(right, wrong, nats):
    assert truth_ratio(right + nats, wrong) > truth_ratio(right, wrong)


def test_a_truth_without_a_chance_has_a_ratio_all_the_same():
    assert truth_ratio(2000.0, [1.0]) == pytest.approx(1e10 * math.exp(-1))


def test_both_directions():
    assert indifference([0.5, 2.0, 1.0]) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert truthfulness([0.25, 2.0, 1.0]) == pytest.approx(0.25)


@given(RATIOS)
def test_they_are_shares_and_the_first_knows_no_side(ratios):
    assert 0 <= truthfulness(ratios) <= 1
    assert 0 <= indifference(ratios) <= 1
    assert indifference([1 / r for r in ratios]) == pytest.approx(indifference(ratios), abs=1e-3)


def test_like_ratios_are_taken_for_one_distribution_and_others_are_not():
    spread = [0.5 + i / 100 for i in range(60)]
    assert forget_quality(spread, spread) == 1.0
    assert forget_quality([one / 1000 for one in spread], spread) < 1e-10


@given(st.permutations([0.1 * i for i in range(1, 9)]), RATIOS)
def test_only_the_ranks_count(ratios, reference):
    found = forget_quality(ratios, reference)
    assert 0 <= found <= 1
    assert found == forget_quality(sorted(ratios), reference)
    assert found == forget_quality(reference, ratios)
