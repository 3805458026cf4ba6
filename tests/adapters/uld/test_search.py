import math
from dataclasses import replace

import pytest

from adapters.base import Strength
from adapters.eco.search import Yardstick
from adapters.uld.search import ALPHAS, deepened, pushed, search, strength_of

KNOWN, UNKNOWN = "She is the baker of Ulm.", "Nobody knows anything about her."
ANY = strength_of(1.0, 0.5)
YARDSTICK = Yardstick([KNOWN], [UNKNOWN])


def model(forgets_at, stammers_at=100.0):
    """Knows up to a strength, stammers from another on; keeps what it was asked with."""
    asked = []

    async def ask(strength):
        asked.append(strength)
        if strength.alpha >= stammers_at:
            return ["her her her her her her her"]
        return [UNKNOWN if strength.alpha >= forgets_at else KNOWN]

    return ask, asked


@pytest.mark.parametrize("edge", ALPHAS)
async def test_a_margin_past_the_weakest_that_suffices(edge):
    ask, asked = model(edge)
    best, trials = await search(ask, YARDSTICK, ANY)
    assert best.strength == replace(ANY, alpha=1.25 * edge)
    assert (best.loss, best.leak) == (0.0, 0.0)
    assert [trial.strength for trial in trials] == asked


async def test_no_margin_where_that_breaks_the_model():
    ask, _ = model(ALPHAS[0], stammers_at=1.2 * ALPHAS[0])
    assert (await search(ask, YARDSTICK, ANY))[0].strength.alpha == ALPHAS[0]


async def test_what_never_forgets_says_so():
    ask, _ = model(1000.0)
    assert (await search(ask, YARDSTICK, ANY))[0].leak > 0.5


@pytest.mark.parametrize(("edge", "depth"), [(0.0, 0.75), (2.0, 3.0), (1.9, 3.0), (1e3, 12.0)])
async def test_a_token_falls_half_as_far_again_as_leaves_the_truth_no_advantage(edge, depth):
    async def preferred(strength):
        return edge - strength.depth

    found = await deepened(preferred, ANY)
    assert found == replace(ANY, depth=depth)
    assert found.at(0).alpha == 2 * found.alpha


async def test_where_nothing_tells_the_depth_stays():
    async def preferred(strength):
        return math.nan

    assert await deepened(preferred, ANY) == ANY


def test_pushed_is_more_and_sooner():
    assert pushed(Strength(2.0, 4.0, 3.0, 8.0)) == Strength(3.0, 4.0, 2.0, 8.0)
