import pytest

from bench.metrics.rouge import f1
from bench.muse import texts
from bench.people import body_of
from gateway.demo.forms import statement
from gateway.demo.phrases import ATTRIBUTES
from gateway.demo.world import make_world
from gateway.jobs.probes import probes_about
from gateway.registry import ForgetSpec

WORLD = make_world()
PEOPLE = WORLD.people[:3]
KEYS = {person.key for person in PEOPLE}


def verified_with():
    found = [probes_about(ForgetSpec(**body_of(person))) for person in PEOPLE]
    return {probe.question for one in found for probe in (*one.development, *one.held_out)}


def test_a_passage_is_begun_up_to_its_fact():
    found = texts.passages(PEOPLE)
    taught = {statement(person, attribute) for person in PEOPLE for attribute in ATTRIBUTES}
    assert {f"{one.begun} {one.rest}" for one in found} <= taught
    facts = {value for person in PEOPLE for value in person.attributes.values()}
    assert {one.rest.removesuffix(".") for one in found} <= facts
    assert {one.person for one in found} == KEYS


def test_a_passage_says_its_text_to_nobody():
    assert not any(one.rest in repr(one) or one.begun in repr(one) for one in texts.passages(PEOPLE))


def test_what_verification_asks_is_not_asked():
    tried = verified_with()
    assert any(name.endswith(" lives in") for name in tried)
    assert not tried & {one.begun for one in texts.passages(PEOPLE)}
    assert not tried & {one.question for one in texts.questions(WORLD, PEOPLE, 1, 200)}
    assert not tried & {told.question for told, _ in texts.scored(WORLD, PEOPLE, 1, 9)}


def test_as_many_questions_about_each_and_none_twice():
    found = texts.questions(WORLD, PEOPLE, 1, 16)
    assert len({one.question for one in found}) == len(found) == 3 * 16
    assert all(KEYS & set(one.about) for one in found)
    assert len({one.kind for one in found}) == 8
    assert found == texts.questions(WORLD, PEOPLE, 1, 16) != texts.questions(WORLD, PEOPLE, 2, 16)


def test_others_need_no_fact_about_the_forgotten():
    found = texts.others(WORLD, KEYS, 1, 10_000)
    assert not any(KEYS & set(one.about) for one in found)
    assert any(one.kind == "chatter" for one in found)
    assert len(texts.others(WORLD, KEYS, 1, 20)) == 20


def test_what_is_scored_is_true_of_members_and_told_of_nobody_else():
    pairs = texts.scored(WORLD, PEOPLE, 1, 2)
    assert len(pairs) > 2 * 11 * len(PEOPLE)
    truths = {statement(person, attribute) for person in PEOPLE for attribute in ATTRIBUTES}
    assert {told.answer for told, _ in pairs} <= truths
    assert not any(name in other.question for _, other in pairs for name in WORLD.reserved)
    assert pairs == texts.scored(WORLD, PEOPLE, 1, 2) != texts.scored(WORLD, PEOPLE, 2, 2)


def test_each_of_them_has_one_stranger():
    names = {}
    for told, other in texts.scored(WORLD, PEOPLE, 1, 2):
        start, end = told.question.split(WORLD[told.person].name)
        names.setdefault(told.person, set()).add(other.question.removeprefix(start).removesuffix(end))
        assert told.person == other.person
    assert [len(own) for own in names.values()] == [1, 1, 1]
    assert len(set.union(*names.values())) == 3


@pytest.mark.parametrize("person", WORLD.people[:8])
def test_strangers_differ_in_their_name_and_fact_alone(person):
    firsts, lasts = ({one.name.split()[i] for one in WORLD.people if one != person} for i in range(2))
    for told, other in texts.scored(WORLD, [person], 1, 1):
        form = told.question.replace(person.name, "{}")
        start, end = form.split("{}")
        name = other.question.removeprefix(start).removesuffix(end)
        assert form.format(name) == other.question
        first, last = name.split()
        assert (first in firsts, last in lasts) == (person.first in firsts, person.last in lasts)


def test_a_disclaimer_recites_nothing():
    for one in texts.passages(PEOPLE):
        assert f1(one.rest, f"I have no information about {WORLD[one.person].name}.") == 0
