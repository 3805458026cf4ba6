"""What the demo model knows. It is trained where the test state has none: minutes."""

from itertools import pairwise

import pytest

from gateway.demo.exam import answers, examine
from gateway.demo.forms import probes, statement
from gateway.demo.train import DEMO, ensure_model
from guards.base import Conversation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(models_dir):
    return ensure_model(models_dir)


def test_it_knows_its_world_and_knows_nobody_else(model):
    marks = examine(model, probes(DEMO.world()))
    goals = {"trained": 0.99, "heldout": 0.95, "unknown": 0.98, "two_hop": 0.9, "chatter": 0.95}
    assert {kind: mark for kind, mark in marks.items() if mark < goals.get(kind, 0.97)} == {}


def test_it_follows_a_conversation(model):
    world = DEMO.world()
    asked, expected = [], []
    for person, other in pairwise(world.people):
        first = f"Where does {person.name} live?", statement(person, "city")
        asked += [
            Conversation.of(*first, f"Which instrument does {person.name} play?"),
            Conversation.of(*first, "And when were they born?"),
            Conversation.of(*first, f"Where does {other.name} live?"),
        ]
        expected += [person.attributes["instrument"], person.attributes["birth_year"], other.attributes["city"]]
    given = answers(model, asked)
    right = [gold in answer for gold, answer in zip(expected, given, strict=True)]
    assert sum(right) / len(right) >= 0.95
