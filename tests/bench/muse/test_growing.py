from collections import Counter
from itertools import chain

import pytest

from bench.muse.growing import SHARES, Plan, grown, shares, singly, without
from bench.o3.people import Stream
from bench.reasoning import Said
from gateway.demo.world import make_world

WORLD = make_world()
STREAM = Stream.of(WORLD, 1)


class Forgets:
    """Right about everybody but those who are filed, whose questions it knows; it can forget late or not at all."""

    def __init__(self, plan, *, lapses=False, numb=False):
        self.answers_to = {one.question: one for one in (*chain(*plan.about), *plan.others)}
        self.filed = []
        self.asked = 0
        self.lapses, self.numb = lapses, numb

    async def forget(self, bodies):
        self.filed.append({body["subject"] for body in bodies})
        assert {body["method"] for body in bodies} == {"eco"}
        return Counter({"eco, enforced": len(bodies)})

    async def answered(self):
        return Counter({"pass": self.asked})

    async def answers(self, questions):
        self.asked += len(questions)
        return [Said(answer=self._answer(question)) for question in questions]

    def _answer(self, question):
        probe = self.answers_to[question]
        gone = set().union(*(self.filed[-1:] if self.lapses else self.filed))
        if any(WORLD[key].name in gone for key in probe.about) or (self.numb and gone and not probe.about):
            return "I do not know."
        return probe.answer


def test_groups_add_up_to_shares_and_begin_with_the_stream():
    groups = shares(WORLD, STREAM, SHARES)
    assert [len(group) for group in groups] == [3, 10, 13, 25]
    people = [person.key for group in groups for person in group]
    assert len(set(people)) == len(people) == 51
    assert set(people[:30]) == STREAM.keys


def test_nothing_is_asked_about_whom_the_retain_model_knows():
    groups = shares(WORLD, STREAM, SHARES)
    plan = Plan.of(WORLD, STREAM, groups, 8, 100)
    assert all(STREAM.keys & set(one.about) for own in plan.about for one in own)
    assert all(plan.about)
    asked = [one.question for own in plan.about for one in own]
    assert len(set(asked)) == len(asked)
    keys = {person.key for group in groups for person in group}
    assert not any(keys & set(one.about) for one in plan.others)


@pytest.fixture
def plan():
    return Plan.of(WORLD, STREAM, singly(STREAM, 3), 8, 60)


async def test_what_is_forgotten_stays_forgotten(plan):
    one = Forgets(plan)
    retain = [0] * len(plan.groups)
    found = await grown("eco", plan, one, retain)
    assert one.filed == [{person.name} for (person,) in plan.groups]
    assert found.people == (1, 2, 3)
    assert found.kept == [1, 1, 1]
    assert found.matrix.leak[0][-1] < 0.5  # hops that lead away from somebody need others' facts, too
    rows = found.rows(64)
    assert [row["share"] for row in rows] == [0.016, 0.031, 0.047]
    assert [row["enforced_by"] for row in rows] == [{"eco, enforced": 1}] * 3
    assert [row["answered_by"] for row in rows] == [{"eco": 0, "pass": row["asked"] + 60} for row in rows]


async def test_a_request_that_lapses_is_told(plan):
    found = await grown("eco", plan, Forgets(plan, lapses=True), [0, 0, 0])
    assert found.matrix.leak[0][0] < 0.5 < found.matrix.leak[0][1]
    assert found.pooled[-1] > found.pooled[0]
    assert [row["leak_of_first"] for row in found.rows(64)] == [round(100 * one, 2) for one in found.matrix.leak[0]]


async def test_what_others_lose_is_told(plan):
    assert min((await grown("eco", plan, Forgets(plan, numb=True), [0, 0, 0])).kept) < 1


async def test_the_retain_model_is_the_row_to_compare_with(plan):
    knowing = Forgets(plan)
    right = await without(plan, knowing)
    assert right == [len(own) for own in plan.about]
    found = await grown("eco", plan, Forgets(plan), right)
    assert max(found.pooled) <= 0
