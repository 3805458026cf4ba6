import math

import pytest

from adapters.base import Strength


@pytest.mark.parametrize(
    ("alpha", "depth", "flat"),
    [(-1, 0, 0), (1, -1, 0), (math.nan, 0, 0), (1, math.inf, 0), (1, 0, math.nan)],
)
def test_a_strength_that_would_lift_what_is_forgotten_is_none(alpha, depth, flat):
    with pytest.raises(ValueError, match="finite"):
        Strength(alpha, depth, flat)
    assert Strength(0, 0, -1) == Strength(alpha=0, depth=0, flat=-1)
