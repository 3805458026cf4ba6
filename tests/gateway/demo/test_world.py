import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo import lore
from gateway.demo.world import make_world, unknown_names


@given(seed=st.integers(0, 2**32), people=st.integers(4, 128))
def test_names_and_aliases_name_one_person(seed, people):
    world = make_world(seed, people)
    assert len(world.people) == people
    names = [text for person in world.people for text in (person.name, *person.aliases)]
    assert len(set(names)) == len(names)
    assert world.reserved == set(names)


@given(seed=st.integers(0, 2**32), people=st.integers(4, 128))
def test_relations_lead_to_somebody_else_and_pairs_are_mutual(seed, people):
    world = make_world(seed, people)
    for person in world.people:
        assert person.key not in person.relations.values()
        for word, key in person.relations.items():
            other = world[key]
            if word in ("spouse", "neighbour"):
                assert other.relations[word] == person.key


def test_a_world_is_its_seed():
    assert make_world(3) == make_world(3)
    assert make_world(3) != make_world(4)
    assert pickle.loads(pickle.dumps(make_world(3))) == make_world(3)


def test_the_demo_world_is_rich_and_has_namesakes():
    world = make_world()
    assert len(world.people) >= 64
    assert all(len(person.attributes) >= 10 and len(person.aliases) >= 2 for person in world.people)
    assert all(set(person.relations) <= set(lore.RELATIONS) for person in world.people)
    for part in (lambda p: p.first, lambda p: p.last):
        shared = [n for n in Counter(part(person) for person in world.people).values() if n > 1]
        assert len(shared) == 8


def test_guessing_rarely_hits():
    world = make_world()
    for kind in world.people[0].attributes:
        most = Counter(person.attributes[kind] for person in world.people).most_common(1)[0][1]
        assert most <= 4, kind


@pytest.mark.parametrize("kind", lore.ATTRIBUTES)
def test_no_value_holds_another(kind):
    values = [f" {value.casefold()} " for value in lore.ATTRIBUTES[kind]]
    assert len(set(values)) == len(values)
    assert not [(a, b) for a in values for b in values if a != b and a in b]


def test_a_world_without_somebody_keeps_nothing_that_leads_there():
    world = make_world()
    gone = {"p003", "p010"}
    rest = world.without(gone)
    assert {person.key for person in world.people} - {person.key for person in rest.people} == gone
    assert not gone & {key for person in rest.people for key in person.relations.values()}
    assert rest.reserved == world.reserved
    assert rest["p004"].attributes == world["p004"].attributes


def test_a_key_that_nobody_has_is_an_error():
    with pytest.raises(KeyError):
        make_world().without(["p999"])
    with pytest.raises(ValueError, match="people"):
        make_world(people=3)


@given(seed=st.integers(0, 2**32))
def test_nobody_bears_an_unknown_name_and_some_share_half_of_it(seed):
    world = make_world()
    names = unknown_names(world, 40, seed)
    assert len(set(names)) == 40
    assert not world.reserved & set(names)
    firsts, lasts = {p.first for p in world.people}, {p.last for p in world.people}
    shares = [(name.split()[0] in firsts, name.split()[1] in lasts) for name in names]
    assert sum(first for first, _ in shares) >= 15
    assert sum(last for _, last in shares) >= 15
