"""A training on a thread: told of, kept as it goes, stopped with whoever waits for it."""

import asyncio
import json
import threading

import pytest

from adapters.course import Epoch
from gateway.jobs import training
from gateway.jobs.checkpoint import Checkpoint
from gateway.jobs.training import lacking, trained
from gateway.registry import State

LESSONS = {"lessons": b"what was asked"}


@pytest.fixture
async def kept(cores, spec):
    """The checkpoint of a request that is being learned, and its core."""
    core = await cores()
    request, _ = await core.lifecycle.file(spec(method="o3"), key=None, actor="admin")
    await core.registry.move(request.id, State.LEARNING, actor="worker")
    return core, Checkpoint(core, request.id, "o3-checkpoint"), request.id


def course(*states, then=lambda stop: "made"):
    """Tells of an epoch for each state."""

    def train(*, resume, checkpoint, progress, stop):
        for i, state in enumerate(states, 1):
            progress(Epoch(i, len(states), 1 / i, 0.0, None, 0.01))
            checkpoint(state)
        return then(stop) if resume is None else resume

    return train


async def progress_of(core, id_):
    return [dict(event.data) for event in await core.registry.events(id_) if event.kind == "progress"]


async def test_what_it_ends_with_and_what_it_told_on_the_way(kept):
    core, checkpoint, id_ = kept
    assert await trained(core, id_, "o3", checkpoint, LESSONS, course(b"one", b"two")) == "made"
    told = await progress_of(core, id_)
    assert [(one["method"], one["number"], one["forget"]) for one in told] == [("o3", 1, 1.0), ("o3", 2, 0.5)]
    assert json.dumps(told)


async def test_a_state_is_kept_with_the_lessons_and_given_to_the_next(kept):
    core, checkpoint, id_ = kept
    await trained(core, id_, "o3", checkpoint, LESSONS, course(b"one"))
    assert [await checkpoint.read(name) for name in ("state", "lessons")] == [b"one", LESSONS["lessons"]]
    assert await trained(core, id_, "o3", checkpoint, LESSONS, course()) == b"one"


async def test_states_are_not_kept_more_often_than_is_worth_it(kept, monkeypatch):
    core, checkpoint, id_ = kept
    monkeypatch.setattr(training, "monotonic", lambda: 1.0)  # nothing takes any time
    await trained(core, id_, "o3", checkpoint, LESSONS, course(b"one", b"two"))
    assert await checkpoint.read("state") == b"one"
    monkeypatch.setattr(training, "_EVERY_S", 0.0)
    await trained(core, id_, "o3", checkpoint, LESSONS, course(b"three", b"four"))
    assert await checkpoint.read("state") == b"four"


async def test_what_it_dies_of_is_what_is_raised_and_the_last_state_stays(kept):
    core, checkpoint, id_ = kept

    def dies(stop):
        raise MemoryError

    with pytest.raises(MemoryError):
        await trained(core, id_, "o3", checkpoint, LESSONS, course(b"one", then=dies))
    assert await checkpoint.read("state") == b"one"


async def test_training_that_nobody_waits_for_any_more_stops(kept):
    core, checkpoint, id_ = kept
    begun, seen = threading.Event(), []

    def waits(stop):
        begun.set()
        while not stop():
            threading.Event().wait(0.01)
        seen.append("stopped")

    waiting = asyncio.create_task(trained(core, id_, "o3", checkpoint, LESSONS, course(then=waits)))
    await asyncio.to_thread(begun.wait, 20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert seen == ["stopped"]


def test_what_is_not_installed_is_named_with_what_installs_it(monkeypatch):
    assert lacking() is None
    monkeypatch.setattr(training, "find_spec", lambda name: None if name == "peft" else name)
    assert lacking() == "peft not installed: pip install '.[cpu]' or '.[gpu]'"
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    assert lacking().startswith("torch and transformers and safetensors and peft not installed")
