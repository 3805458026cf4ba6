import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.truth import forget_quality, items, truth_ratio, truth_ratios
from gateway.demo.forms import correct, probes
from gateway.demo.train import DEMO

WORLD = DEMO.world()
KEYS = {WORLD.people[3].key, WORLD.people[8].key}
LOGPROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=8)


def test_every_fact_is_an_item_whose_wrong_answers_say_another_value():
    made = items(WORLD, KEYS)
    asked = {probe.question: probe for probe in probes(WORLD, ("heldout",)) if set(probe.about) <= KEYS}
    assert [item.question for item in made] == list(asked)
    assert len(made) == 2 * len(asked) / len(KEYS)
    for item in made:
        probe = asked[item.question]
        assert item.right == probe.answer
        assert len({item.right, *item.wrong}) == 5
        assert not any(correct(probe, text) for text in item.wrong)


def test_the_ratio_is_of_geometric_means():
    assert truth_ratio([math.log(0.5)] * 3, [[math.log(0.1)], [math.log(0.3)] * 7]) == pytest.approx(0.4)


@given(LOGPROBS, st.lists(LOGPROBS, min_size=1, max_size=4), st.floats(0.1, 5))
def test_what_makes_the_truth_less_likely_raises_the_ratio(right, wrong, nats):
    assert truth_ratio([one - nats for one in right], wrong) > truth_ratio(right, wrong)


async def test_all_answers_are_scored():
    made = items(WORLD, KEYS)[:2]

    async def score(question, answer):
        return [math.log(0.8 if any(answer == item.right for item in made) else 0.2)]

    assert await truth_ratios(made, score) == pytest.approx([0.25, 0.25])


def test_like_ratios_are_taken_for_one_distribution_and_others_are_not():
    spread = [0.5 + i / 100 for i in range(60)]
    assert forget_quality(spread, spread) == 1.0
    assert forget_quality([one / 1000 for one in spread], spread) < 1e-10
