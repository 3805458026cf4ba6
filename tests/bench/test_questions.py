import pytest

from bench.people import fresh_sets
from bench.questions import Questions, about_others
from bench.tried import tried
from gateway.demo.forms import probes
from gateway.demo.world import make_world

WORLD = make_world()
PEOPLE = fresh_sets(WORLD, 1)[2]
KEYS = {person.key for person in PEOPLE}


def questions(filed, others=None, method="eco"):
    return Questions.of(WORLD, PEOPLE, PEOPLE[:filed], 2, others, method)


@pytest.mark.parametrize("filed", [1, 5])
def test_nothing_is_asked_about_those_whom_the_retain_model_never_met_and_who_are_not_filed(filed):
    own, found = {person.key for person in PEOPLE[:filed]}, questions(filed)
    assert {key for one in found.about for key in one.about} & KEYS == own
    assert not {key for one in found.others for key in one.about} & KEYS
    assert "chatter" in {one.kind for one in found.others}
    assert {one.kind for one in found.about} >= {"heldout", "two_hop", "reverse"}


def test_what_the_learning_job_tries_is_not_asked_about_them():
    body = {"scope": "entity", "subject": PEOPLE[0].name, "aliases": list(PEOPLE[0].aliases), "method": "uld"}
    never, asked = tried([body]), {one.question for one in questions(1, method="uld").about}
    assert asked
    assert not asked & never
    everything = {one.question for one in probes(WORLD, ("trained", "heldout"), seed=102)}
    assert everything & never, "then there would be nothing to leave out"


def test_as_many_about_others_as_are_wanted_and_the_same_each_time():
    some = questions(5, others=40).others
    assert len(some) == 40
    assert some == questions(5, others=40).others
    assert set(some) <= set(questions(5).others)


def test_two_hops_that_end_at_somebody_are_about_them():
    """By the answer's own words: it says first who that is, and then what is asked of them."""
    asked = probes(WORLD, ("two_hop",), seed=102)
    names = [person.name for person in PEOPLE]
    ending = [one for one in asked if any(name in one.answer and name not in one.question for name in names)]
    starting = [one for one in asked if any(name in one.question for name in names)]
    assert ending
    assert starting
    assert not {*ending, *starting} & set(about_others(WORLD, asked, KEYS))
    assert set(ending) <= set(questions(5).about)
