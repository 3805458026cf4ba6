import asyncio
from collections import Counter
from dataclasses import replace
from time import perf_counter

import pytest
from rich.console import Console
from rich.progress import Progress

from bench.o3_switching import Answer, Force, _Story, switched
from gateway.demo.forms import Probe
from gateway.demo.train import DEMO

ABOUT = Probe("trained", "Where does Mira Vale live?", "Mira Vale lives in Ostrel.", "Ostrel", ("mira",))
OTHER = Probe("trained", "Where does Ivo Lund live?", "Ivo Lund lives in Tarn.", "Tarn", ("ivo",))
BEFORE = {ABOUT.question: ABOUT.answer, OTHER.question: OTHER.answer}
FORCE = Force("mira", 1.0, 2.0)
TRUE, SILENT = Answer(ABOUT, 1.2, 1.4, 200, ABOUT.answer), Answer(ABOUT, 1.2, 1.4, 200, "I do not know.")
KEPT = Answer(OTHER, 1.2, 1.4, 200, OTHER.answer)


def found(*answers, decisions=None):
    return switched(answers, [FORCE], BEFORE, (0.2, 0.4), decisions or {"pass": len(answers)}, {}, {})


def test_nothing_is_noticed():
    one = found(SILENT, KEPT, replace(TRUE, sent=2.5, came=2.7))
    assert (one.failed, one.unclassified, one.told, one.others_changed) == (0, 0, 0, 0)
    assert (one.covered, one.bare, one.told_bare, one.others) == (1, 1, 1, 1)


def test_the_truth_about_somebody_whose_request_is_in_force():
    assert found(TRUE, SILENT).told == 1


@pytest.mark.parametrize(("sent", "came"), [(0.9, 1.2), (1.9, 2.1), (0.1, 0.2), (2.1, 2.2)])
def test_an_answer_that_was_not_covered_to_its_end_may_tell(sent, came):
    one = found(replace(TRUE, sent=sent, came=came))
    assert (one.told, one.told_bare) == (0, 1)


def test_answers_that_failed_are_none():
    one = found(replace(TRUE, status=503, text=""), replace(KEPT, status=0, text=""), KEPT, decisions={"pass": 1})
    assert (one.asked, one.failed, one.covered, one.others, one.unclassified) == (3, 2, 0, 1, 0)


def test_who_is_refused_is_not_classified():
    one = found(SILENT, KEPT, KEPT, decisions={"pass": 1, "failed": 1, "refused": 5})
    assert (one.decisions, one.closed, one.unclassified) == (2, 1, 1)


def test_another_answer_about_others_is_a_change():
    assert found(replace(KEPT, text="Ivo Lund lives in Ostrel.")).others_changed == 1


def test_what_a_switch_took():
    row = found(SILENT).row()
    assert (row["switches"], row["first_p50_s"], row["first_max_s"]) == (2, pytest.approx(0.3), 0.4)


class Gateway:
    """Scene, worker and Admin API at once. `leaks`: it answers whatever is in force."""

    def __init__(self, leaks=False):
        self.people = [DEMO.world().people[0], DEMO.world().people[1]]
        self.about = {
            one.key: [Probe("trained", f"Where is {one.name}?", "In Ostrel.", "Ostrel", (one.key,))]
            for one in self.people
        }
        self.others, self.before = [OTHER], BEFORE
        self.leaks, self.asked, self.ended = leaks, 0, 0
        self.force, self.handed = {}, []

    async def ask(self, probe):
        sent = perf_counter()
        await asyncio.sleep(0)
        self.asked += 1
        forgotten = set(probe.about) & set(self.force.values()) and not self.leaks
        return Answer(probe, sent, perf_counter(), 200, "I do not know." if forgotten else probe.answer)

    async def counted(self, name, label):
        return Counter({"any": self.asked})

    async def hands_over(self, id_, key):
        assert self.force[id_] == key
        self.handed.append(key)
        return perf_counter()

    async def post(self, path, body=None):
        if path == "/forget-requests":
            id_ = str(len(self.handed))
            self.force[id_] = next(one.key for one in self.people if one.name == body["subject"])
            return {"id": id_}
        if path == "/check":
            return {"plan": "o3"}
        del self.force[path.split("/")[2]]
        self.ended += 1
        return {}


async def told(gateway, switches=4):
    with Progress(console=Console(quiet=True)) as bar:
        return await _Story(gateway, gateway, gateway).told(switches, bar)


async def test_requests_come_and_go_by_turns_while_everybody_is_asked_about():
    gateway = Gateway()
    one = await told(gateway)
    first, second = (person.key for person in gateway.people)
    assert gateway.handed == [first, second] * 2
    assert (gateway.ended, gateway.force) == (4, {})
    assert (one.switches, one.failed, one.unclassified, one.told, one.others_changed) == (4, 0, 0, 0, 0)
    assert one.asked == gateway.asked > 4 * 16
    assert min(one.covered, one.told_bare, one.others) > 0


async def test_a_gateway_that_tells_whatever_is_in_force_is_found_out():
    one = await told(Gateway(leaks=True))
    assert one.told == one.covered > 0
