import os
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import reduce
from operator import add

import httpx
import pytest

from bench import forgetting
from bench.forgetting import NotInForce, Tally, fresh_sets, in_force, sets_of, settled
from bench.result import Figure
from gateway.demo.forms import Probe
from gateway.demo.train import DEMO

ASKED = [
    Probe("trained", "q", "a", "Oslo", ("p1",)),
    Probe("trained", "q", "a", "Ulm"),
    Probe("cloze", "q", "a", "Rome"),
]


def test_a_tally_marks_and_adds():
    one = Tally.of(ASKED, ["Oslo.", "Ulm.", "Rome."], ["Oslo.", "?", "?"], ["?", "?", "Rome!"])
    assert (one.before, one.after, one.retain_model) == (1.0, 1 / 3, 1 / 3)
    both = reduce(add, (one, one))
    assert both.asked.total() == 6
    rows = {row["kind"]: row for row in both.by_kind()}
    assert (rows["trained"]["before"], rows["trained"]["after"]["hits"], rows["trained"]["retain_model"]) == (
        1.0,
        2,
        0.0,
    )


def test_nothing_is_said_of_a_retain_model_that_was_not_asked():
    assert all("retain_model" not in row for row in Tally.of(ASKED, ["", "", ""], ["", "", ""]).by_kind())


def test_the_sets_are_disjoint_and_nobody_in_them_helped_to_choose_anything():
    people = [person.key for five in sets_of(DEMO.world(), 3) for person in five]
    assert len(people) == len(set(people)) == 15
    assert {len(five) for five in sets_of(DEMO.world(), 3)} == {5}


def test_a_set_is_the_same_however_many_are_wanted_and_the_first_is_not_measured():
    developed_on, *fresh = sets_of(DEMO.world(), 4)
    for count in range(1, 11):
        assert sets_of(DEMO.world(), count)[:4] == [developed_on, *fresh][:count]
    assert fresh_sets(DEMO.world()) == dict(enumerate(fresh, 1))
    assert list(fresh_sets(DEMO.world(), 2).items()) == [(2, fresh[1]), (3, fresh[2])]  # 1 was looked at once


def test_a_figure_holds_or_does_not():
    assert Figure.of("x", 2.0, "<=", 2).holds
    assert not Figure.of("x", 2.1, "<=", 2).holds
    assert not Figure.of("x", float("nan"), ">=", 0).holds


class Gateway:
    """Enforces by ignorance until the registry has another revision, and serves it some looks at the metrics later."""

    pid = os.getpid()

    def __init__(self, served):
        self.served = served
        self.state = "enforced"
        self.found = {"a": ("eco", 6), "b": ("o3", 7)}

    def admin(self):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_error): ...

    async def get(self, path):
        method, revision = self.found[path.rpartition("/")[2]]
        return {"state": self.state, "method": method, "revision": revision}

    @asynccontextmanager
    async def asking(self, _gateway):
        def answer(_request):
            page = f"# TYPE lethe_policy_revision gauge\nlethe_policy_revision {self.served.pop(0)}\n"
            return httpx.Response(200, text=page)

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway") as http:
            yield http


async def test_requests_are_in_force_once_the_server_has_heard_of_the_last(monkeypatch):
    gateway = Gateway([4.0, 6.0, 7.0, 9.0])
    monkeypatch.setattr(forgetting, "asking", gateway.asking)
    monkeypatch.setattr(forgetting, "_POLL_S", 0)
    assert await in_force(gateway, ["a", "b"]) == ["eco, enforced", "o3, enforced"]
    assert gateway.served == [9.0]
    assert await in_force(gateway, []) == []


@pytest.mark.parametrize("state", ["retired", "rolled_back"])
async def test_what_is_over_is_not_waited_for(monkeypatch, state):
    gateway = Gateway([])
    monkeypatch.setattr(forgetting, "asking", gateway.asking)
    gateway.state = state
    for waiting in (settled(gateway, "a"), in_force(gateway, ["a", "b"])):
        with pytest.raises(NotInForce, match=f"a is {state}"):
            await waiting


async def test_nothing_is_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(forgetting, "_PATIENCE_S", 0.01)
    gateway = Gateway([4.0] * 1000)
    monkeypatch.setattr(forgetting, "asking", gateway.asking)
    with pytest.raises(NotInForce, match="for each of 2"):  # enforced, and the server never hears of it
        await in_force(gateway, ["a", "b"])
    gateway.state = "learning"
    with pytest.raises(NotInForce, match="for each of 1"):
        await settled(gateway, "a")


async def test_what_consolidation_changes_is_waited_for_too(monkeypatch):
    gateway, works = Gateway([7.0, 8.0, 9.0]), [True, True, False, False, False]
    monkeypatch.setattr(forgetting, "asking", gateway.asking)
    monkeypatch.setattr(forgetting, "_POLL_S", 0)

    def at_work(pid):
        assert pid == gateway.pid
        gateway.found["a"] = ("o3", 9)
        return works.pop(0)

    monkeypatch.setattr(forgetting, "_works", at_work)
    await in_force(gateway, ["a", "b"])
    assert (works, gateway.served) == ([], [])


def test_a_worker_is_a_child_of_its_gateway_for_as_long_as_it_lives():
    assert not forgetting._works(os.getpid())
    command = [sys.executable, "-c", "input()", "gateway.jobs.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as worker:
        assert forgetting._works(os.getpid())
        assert not forgetting._works(worker.pid)
        worker.communicate(b"\n")
    assert not forgetting._works(os.getpid())
