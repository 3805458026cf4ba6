import math

import pytest

from bench.truth import items, truth_ratios
from gateway.demo.forms import correct, probes
from gateway.demo.train import DEMO

WORLD = DEMO.world()
KEYS = {WORLD.people[3].key, WORLD.people[8].key}


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


async def test_all_answers_are_scored():
    made = items(WORLD, KEYS)[:2]

    async def score(question, answer):
        return [math.log(0.8 if any(answer == item.right for item in made) else 0.2)]

    assert await truth_ratios(made, score) == pytest.approx([0.25, 0.25])
