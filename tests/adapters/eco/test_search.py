import pytest

from adapters.eco.search import GRIDS, Trial, Yardstick, search

KNOWN = ["Ada lives in Ulm.", "Ada is a baker."]
UNKNOWN = ["I have no information about Ada."] * 2
KEY = bytes(16)


def cliff(at, broken=float("inf")):
    """A model that knows below a strength, is ignorant from there on, and stammers beyond another; by corruption."""
    asked = []

    async def ask(corruption):
        asked.append(corruption)
        edge = at.get(corruption.name, float("inf"))
        if corruption.strength >= broken:
            return ["the the the the the the"] * 2
        return UNKNOWN if corruption.strength >= edge else KNOWN

    return ask, asked


async def found(at, broken=float("inf")):
    ask, asked = cliff(at, broken)
    best, trials = await search(KEY, ask, Yardstick(KNOWN, UNKNOWN))
    return best, trials, asked


@pytest.mark.parametrize("edge", [0.9, 1.7, 5.0])
async def test_the_cliff_is_bisected_from_above_and_left_behind(edge):
    best, trials, _ = await found({"fixed_noise": edge})
    assert best.corruption.name == "fixed_noise"
    assert 2 * edge <= best.corruption.strength <= 2 * edge * 1.15
    assert best.loss == best.leak == 0.0
    assert best in trials


async def test_the_better_corruption_wins():
    best, _, _ = await found({"blend": 0.6})
    assert best.corruption.name == "blend"


async def test_strengths_that_break_the_model_lose():
    best, _, _ = await found({"fixed_noise": 1.0}, broken=2.0)
    assert 1.0 <= best.corruption.strength < 2.0
    assert best.loss == 0.0


@pytest.mark.parametrize(("broken", "margin"), [(2.3, 2.0), (1.7, 1.5), (1.35, 1.25), (1.15, 1.0)])
async def test_the_margin_is_the_widest_that_breaks_nothing(broken, margin):
    best, _, _ = await found({"fixed_noise": 1.0}, broken=broken)
    assert best.corruption.strength == pytest.approx(margin, rel=0.12)
    assert best.loss == 0.0


async def test_ignorance_at_the_weakest_needs_no_bisection():
    _, trials, asked = await found({"fixed_noise": 0.0, "blend": 0.0})
    assert len(trials) == len(asked) == sum(map(len, GRIDS.values())) + len(GRIDS)  # and a margin each


async def test_every_trial_has_the_same_key():
    _, _, asked = await found({"fixed_noise": 1.7})
    assert {corruption.key for corruption in asked} == {KEY}


async def test_where_nothing_helps_the_loss_says_so():
    best, _, _ = await found({})
    assert best.leak > 0.3
    assert best.loss > 0.5


def test_a_leak_is_likeness_to_the_known_beyond_the_unknowns_own():
    measure = Yardstick(["a b c d"], ["a b x y"]).measure
    assert measure(None, ["a b x y"]) == Trial(None, 0.0, 0.0)
    assert measure(None, ["a b c d"]).leak == pytest.approx(0.5)
    with pytest.raises(ValueError):
        measure(None, ["one", "too many"])
