import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bench import lives
from bench.lives import NotInForce, in_force, settled


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
    monkeypatch.setattr(lives, "asking", gateway.asking)
    monkeypatch.setattr(lives, "_POLL_S", 0)
    assert await in_force(gateway, ["a", "b"]) == ["eco, enforced", "o3, enforced"]
    assert gateway.served == [9.0]
    assert await in_force(gateway, []) == []


@pytest.mark.parametrize("state", ["retired", "rolled_back"])
async def test_what_is_over_is_not_waited_for(monkeypatch, state):
    gateway = Gateway([])
    monkeypatch.setattr(lives, "asking", gateway.asking)
    gateway.state = state
    for waiting in (settled(gateway, "a"), in_force(gateway, ["a", "b"])):
        with pytest.raises(NotInForce, match=f"a is {state}"):
            await waiting


async def test_nothing_is_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(lives, "_PATIENCE_S", 0.01)
    gateway = Gateway([4.0] * 1000)
    monkeypatch.setattr(lives, "asking", gateway.asking)
    with pytest.raises(NotInForce, match="for each of 2"):  # enforced, and the server never hears of it
        await in_force(gateway, ["a", "b"])
    gateway.state = "learning"
    with pytest.raises(NotInForce, match="for each of 1"):
        await settled(gateway, "a")


async def test_what_consolidation_changes_is_waited_for_too(monkeypatch):
    gateway, works = Gateway([7.0, 8.0, 9.0]), [True, True, False, False, False]
    monkeypatch.setattr(lives, "asking", gateway.asking)
    monkeypatch.setattr(lives, "_POLL_S", 0)

    def at_work(pid):
        assert pid == gateway.pid
        gateway.found["a"] = ("o3", 9)
        return works.pop(0)

    monkeypatch.setattr(lives, "_works", at_work)
    await in_force(gateway, ["a", "b"])
    assert (works, gateway.served) == ([], [])


def test_a_worker_is_a_child_of_its_gateway_for_as_long_as_it_lives():
    assert not lives._works(os.getpid())
    command = [sys.executable, "-c", "input()", "gateway.jobs.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as worker:
        while not Path(f"/proc/{worker.pid}/cmdline").read_bytes():  # while it begins, the kernel tells of nothing
            time.sleep(0.01)
        assert lives._works(os.getpid())
        assert not lives._works(worker.pid)
        worker.communicate(b"\n")
    assert not lives._works(os.getpid())
