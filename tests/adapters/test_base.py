import math

import pytest

from adapters.base import Scaled, Strength


@pytest.mark.parametrize(
    "numbers",
    [
        (-1, 0, 0),
        (1, -1, 0),
        (math.nan, 0, 0),
        (1, math.inf, 0),
        (1, 0, math.nan),
        (1, 0, 0, -1),
        (1, 0, 0, math.inf),
        (1, 0, 0, 0, 0.5),
    ],
)
def test_a_strength_that_would_lift_what_is_forgotten_is_none(numbers):
    with pytest.raises(ValueError, match="finite"):
        Strength(*numbers)
    assert Strength(0, 0, -1) == Strength(alpha=0, depth=0, flat=-1)


def test_an_answers_first_token_may_fall_further():
    assert Strength(2, 1, 0.5, first=8, tail=3).at(0) == Strength(4, 8, 0.5, first=8, tail=3)
    assert Strength(2, 1, 0.5, first=8, tail=3).at(1) == Strength(2, 1, 0.5)
    assert Strength(2, 4, 0.5, first=3).at(0) == Strength(4, 4, 0.5, first=3)
    assert Strength(2, 4, 0.5).at(0) == Strength(2, 4, 0.5)


@pytest.mark.parametrize("weight", [-0.1, 1.5, math.nan])
def test_a_lora_is_worn_in_part_or_whole_and_no_more(tmp_path, weight):
    with pytest.raises(ValueError, match="between"):
        Scaled(tmp_path, weight)
    assert Scaled(tmp_path, 1).weight == 1
