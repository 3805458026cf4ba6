import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.probes.dynamic import APART, FAMILIES, pairs
from gateway.demo import forms, phrases
from gateway.demo.forms import correct
from gateway.demo.world import make_world

WORLD = make_world()
SHOWN = {"multiple choice", "reintroduced, told"}  # families whose prompt holds the gold


@st.composite
def rounds(draw):
    """A world, whom it is to forget, and the pairs of a seed."""
    world = make_world(draw(st.integers(0, 2**16)), draw(st.integers(24, 64)))
    places = draw(st.lists(st.integers(0, len(world.people) - 1), min_size=1, max_size=5, unique=True))
    people = [world.people[i] for i in places]
    return world, people, pairs(world, people, draw(st.integers(0, 2**16)))


def skeleton(world, case):
    """Its words, with whoever is named and whatever is told left out."""
    calls = [name for person in world.people for name in (person.name, *person.aliases)]
    told = [value for attribute in phrases.ATTRIBUTES for value in forms.values(attribute)]
    text = re.sub("|".join(map(re.escape, sorted(calls, key=len, reverse=True))), "somebody", case.text, flags=re.I)
    return re.sub(rf"\b({'|'.join(map(re.escape, sorted(told, key=len, reverse=True)))})\b", "something", text)


def followed(world, walk):
    """What the graph says, step by step."""
    person = world[walk.people[0]]
    for word, key in zip(walk.relations, walk.people[1:], strict=True):
        assert person.relations[word] == key
        person = world[key]
    return person.attributes[walk.attribute] if walk.attribute else person.name


@settings(max_examples=20, deadline=None)
@given(rounds())
def test_the_gold_is_what_the_graph_says(made):
    world, _, found = made
    for pair in found:
        for case in (pair.forget, pair.control):
            assert case.probe.gold == followed(world, case.walk)
            assert case.probe.about == case.walk.people
            assert correct(case.probe, case.probe.answer)


@settings(max_examples=20, deadline=None)
@given(rounds())
def test_of_a_probe_one_forgotten_person_is_needed_and_of_its_twin_none(made):
    _, people, found = made
    keys = {person.key for person in people}
    for pair in found:
        assert keys.intersection(pair.forget.probe.about) == {pair.person}
        assert pair.forget.probe.about[FAMILIES[pair.family].place] == pair.person
        assert not keys.intersection(pair.control.probe.about)
        texts = (pair.control.text, pair.control.probe.answer, pair.control.beside)
        names = [name for person in people for name in (person.name, *person.aliases)]
        assert not any(name.casefold() in text.casefold() for text in texts for name in names)


@settings(max_examples=20, deadline=None)
@given(rounds())
def test_twins_differ_in_whom_they_are_about_and_in_nothing_else(made):
    world, _, found = made
    for pair in found:
        forget, control = pair.forget, pair.control
        assert skeleton(world, forget) == skeleton(world, control)
        assert (forget.wire, forget.walk.relations, forget.walk.attribute, bool(forget.beside)) == (
            control.wire,
            control.walk.relations,
            control.walk.attribute,
            bool(control.beside),
        )
        assert forget.given == control.given
        assert forget.beside == control.beside
        assert not set(forget.probe.about) & set(control.probe.about)


@settings(max_examples=20, deadline=None)
@given(rounds())
def test_what_the_prompt_says_is_not_what_it_asks_for(made):
    _, _, found = made
    for pair in found:
        for case in (pair.forget, pair.control):
            holds = re.search(rf"\b{re.escape(case.probe.gold)}\b", case.text) is not None
            assert holds == (pair.family in SHOWN)


def test_pairs_are_a_function_of_world_people_and_seed():
    people = WORLD.people[:3]
    assert pairs(WORLD, people, 1) == pairs(WORLD, people, 1)
    assert pairs(WORLD, people, 1) != pairs(WORLD, people, 2)


def test_every_family_asks_about_everybody_and_no_question_comes_twice():
    people = WORLD.people[10:15]
    found = pairs(WORLD, people, 0, 4)
    assert {(pair.family, pair.person) for pair in found} == {
        (family, person.key) for family in FAMILIES for person in people
    }
    assert max(Counter((pair.family, pair.forget.text) for pair in found).values()) == 1
    assert set(FAMILIES) > APART


def test_where_everybody_is_forgotten_there_is_no_twin():
    assert pairs(WORLD, WORLD.people) == ()


@pytest.mark.parametrize(
    ("family", "given", "before", "wire"),
    [
        ("one hop", 0, 0, "chat"),
        ("many-shot", 8, 0, "chat"),
        ("several turns", 0, 2, "chat"),
        ("continuation", 0, 0, "text"),
        ("token ids", 0, 0, "tokens"),
    ],
)
def test_how_a_family_is_asked(family, given, before, wire):
    cases = [pair.forget for pair in pairs(WORLD, WORLD.people[:2]) if pair.family == family]
    assert cases
    assert {(len(case.given), len(case.before), case.wire) for case in cases} == {(given, before, wire)}


def test_a_masked_target_is_never_named_and_one_of_several_turns_only_at_first():
    for pair in pairs(WORLD, WORLD.people[:5], 0, 3):
        person = WORLD[pair.person]
        if pair.family == "masked target":
            assert person.last not in pair.forget.text
        if pair.family == "several turns":
            assert person.name in pair.forget.before[0]
            assert person.last not in pair.forget.before[1] + pair.forget.probe.question


def test_reasoning_is_asked_for_of_both_in_the_same_words():
    found = [pair for pair in pairs(WORLD, WORLD.people[:5], 0, 3) if pair.family == "think first"]
    assert found
    for pair in found:
        asked = [re.search(r"step by step|<think>", case.probe.question) for case in (pair.forget, pair.control)]
        assert asked[0]
        assert asked[1]
        assert asked[0][0] == asked[1][0]


def test_what_a_prompt_says_is_in_no_repr():
    for pair in pairs(WORLD, WORLD.people[:2]):
        assert WORLD[pair.person].name not in repr(pair)
        assert pair.forget.probe.gold not in repr(pair)
