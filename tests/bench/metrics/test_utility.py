from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.utility import Ability, model_utility

SHARE = st.floats(0.01, 1)
ABILITY = st.builds(Ability, SHARE, SHARE, SHARE)


def test_it_is_the_harmonic_mean():
    half, whole = Ability(0.5, 0.5, 0.5), Ability(1.0, 1.0, 1.0)
    assert model_utility(half, whole, whole) == pytest.approx(9 / 12)


def test_one_breakdown_is_all():
    whole = Ability(1.0, 1.0, 1.0)
    assert model_utility(whole, replace(whole, rouge=0.0), whole) == 0.0


@given(ABILITY, ABILITY, ABILITY)
def test_it_lies_between_the_worst_and_the_best(one, two, three):
    parts = [getattr(ability, name) for ability in (one, two, three) for name in Ability.__slots__]
    found = model_utility(one, two, three)
    assert min(parts) - 1e-9 <= found <= max(parts) + 1e-9
    assert found == pytest.approx(model_utility(three, one, two))
