"""The life of a request as a state machine, played against a real registry on SQLite."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gateway.errors import Conflict
from gateway.registry import ACTIVE, MOVES, TERMINAL, ForgetSpec, Registry, State, Vault


def test_every_state_has_its_moves_and_its_end():
    assert set(MOVES) == set(State)
    for state, moves in MOVES.items():
        assert state not in moves
        assert (not moves) == (state in TERMINAL)
        assert state in TERMINAL or moves >= TERMINAL
    assert set(State) - TERMINAL - {State.RECEIVED} == ACTIVE


def test_only_verification_enforces():
    assert {state for state in State if State.ENFORCED in MOVES[state]} == {State.VERIFYING}


class Life(RuleBasedStateMachine):
    """What the registry should hold, beside what it holds."""

    ids = Bundle("ids")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.registry = self.open()
        self.expected = {}  # id -> (name, states it went through, targets)
        self.revision = 0

    def open(self):
        return self.runner.run(Registry.open(f"sqlite:///{self.folder / 'registry.db'}", Vault(b"k" * 32)))

    def call(self, work):
        return self.runner.run(work)

    @rule(target=ids, name=st.sampled_from(["Ada Quill", "Bo Vane", "Cy Orr"]))
    def file(self, name):
        spec = ForgetSpec(scope="entity", subject=name, aliases=[name])
        filing = self.registry.create(spec, idempotency_key=None, actor="a")
        for id, (known, path, _) in self.expected.items():
            if known == name and path[-1] not in TERMINAL:
                with pytest.raises(Conflict, match=id):
                    self.call(filing)
                return id
        request, _ = self.call(filing)
        self.expected[request.id] = (name, [State.RECEIVED], None)
        self.revision += 1
        return request.id

    @rule(id=ids, to=st.sampled_from(State), expect=st.none() | st.sets(st.sampled_from(State)))
    def move(self, id, to, expect):
        name, path, targets = self.expected[id]
        legal = to in MOVES[path[-1]] and (expect is None or path[-1] in expect)
        try:
            moved = self.call(self.registry.move(id, to, actor="a", expect=expect))
        except Conflict:
            assert not legal
        else:
            assert legal
            assert moved.state is to
            self.expected[id] = (name, [*path, to], None if to in TERMINAL else targets)
            self.revision += 1

    @rule(id=ids, blob=st.binary(max_size=20))
    def search_for(self, id, blob):
        name, path, _ = self.expected[id]
        try:
            self.call(self.registry.put_targets(id, blob))
        except Conflict:
            assert path[-1] in TERMINAL
        else:
            assert path[-1] not in TERMINAL
            self.expected[id] = (name, path, blob)
            self.revision += 1

    @rule()
    def restart(self):
        self.call(self.registry.close())
        self.registry = self.open()

    @invariant()
    def holds(self):
        assert self.call(self.registry.revision()) == self.revision
        assert {r.id: r.state for r in self.call(self.registry.active())} == {
            id: path[-1] for id, (_, path, _) in self.expected.items() if path[-1] in ACTIVE
        }
        assert self.call(self.registry.targets()) == {
            id: blob for id, (_, _, blob) in self.expected.items() if blob is not None
        }

    def teardown(self):
        for id, (_, path, _) in self.expected.items():
            assert [event.data["to"] for event in self.call(self.registry.events(id))] == path
        assert self.call(self.registry.verify_audit()) is None
        self.call(self.registry.close())
        self.runner.close()
        shutil.rmtree(self.folder)


Life.TestCase.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLife = Life.TestCase
