"""kill -9 amid many changes: what was acknowledged is there, and nothing is there by half."""

import asyncio
import signal
import subprocess
import sys

import pytest

from gateway.registry import Artifacts, Registry, State, Vault

KEY = b"k" * 32
ACKNOWLEDGED = 40

# Each acknowledged change is one line: an id and its state, or an artifact's digest.
CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.registry import Artifacts, ForgetSpec, Registry, State, Vault

async def main(url, folder):
    vault = Vault(b"k" * 32)
    registry, artifacts = await Registry.open(url, vault), Artifacts(Path(folder), vault)

    async def lives(lane):
        for i in range(10_000):
            name = f"Person {lane} {i}"
            spec = ForgetSpec(scope="entity", subject=name, aliases=[name])
            request, _ = await registry.create(spec, idempotency_key=name, actor="child")
            print("state", request.id, "received", flush=True)
            await registry.put_targets(request.id, request.id.encode() * 100)
            for to in (State.SHIELDED, State.LEARNING, State.VERIFYING):
                await registry.move(request.id, to, actor="child")
                print("state", request.id, to, flush=True)
            made = await artifacts.put("eco", request.id, {}, {"x": b"y" * 1000})
            print("artifact", made.digest, flush=True)

    await asyncio.gather(*map(lives, range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


def _killed_after(lines, *arguments):
    """What a child had acknowledged, in words, when it was killed after this many lines."""
    with subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True) as child:
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


@pytest.mark.parametrize("lines", [1, ACKNOWLEDGED, ACKNOWLEDGED * 3])
async def test_nothing_acknowledged_is_lost(tmp_path, lines):
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    acknowledged = await asyncio.to_thread(_killed_after, lines, url, tmp_path / "artifacts")
    assert len(acknowledged) >= lines

    registry = await Registry.open(url, Vault(KEY))
    order = list(State)
    states = {request.id: request.state for request in await registry.changed(0)}
    for kind, *said in acknowledged:
        if kind == "state":
            assert order.index(states[said[0]]) >= order.index(State(said[1]))
    moves = 0
    for id, state in states.items():
        kinds = [event.kind for event in await registry.events(id)]
        assert kinds == ["created", *order[1 : order.index(state) + 1]]
        moves += len(kinds)
        assert (await registry.get(id)).spec.subject
    targets = await registry.targets()
    assert all(targets[id] == id.encode() * 100 for id, state in states.items() if state is not State.RECEIVED)
    assert await registry.revision() == moves + len(targets)
    assert await registry.verify_audit() is None
    assert len(await registry.audits(limit=10_000)) == moves
    await registry.close()

    artifacts = Artifacts(tmp_path / "artifacts", Vault(KEY))
    for kind, *said in acknowledged:
        if kind == "artifact":
            assert (await artifacts.get(said[0])).folder
    artifacts.close()
