import asyncio
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.base import EngineRejected, EngineUnavailable
from adapters.ignorance import Voice
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs import supervisor
from gateway.jobs.supervisor import Supervisor
from gateway.registry import RegistryError, State
from gateway.settings import JobSettings, Settings


class Workers:
    """Stands for worker processes: `returncode` None while one runs."""

    def __init__(self):
        self.started = []

    async def start(self, settings):
        self.started.append(self)
        self.name, self.process, self.ended = f"worker-{len(self.started)}", SimpleNamespace(returncode=None), False
        return self

    async def end(self):
        self.ended = True


@pytest.fixture
def workers(monkeypatch):
    made = Workers()
    monkeypatch.setattr(supervisor, "_Worker", made)
    return made


async def environ(pid: int) -> bytes:
    """What the process was given; while it begins, the kernel tells of nothing."""
    async with asyncio.timeout(30):
        while not (told := await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)):
            await asyncio.sleep(0.01)
    return told


@pytest.mark.parametrize(
    ("threads", "own", "wanted"),
    [
        (None, "", 7),
        (None, "64", 7),
        (None, "4", 4),
        (None, "1", 1),
        (None, "4,2", 4),
        (None, "0", 7),
        (3, "1", 3),
        (9, "", 9),
    ],
)
async def test_a_worker_leaves_a_core_to_who_asks(tmp_path, monkeypatch, threads, own, wanted):
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    settings = Settings(state_dir=tmp_path, jobs=JobSettings(threads=threads))
    worker = await supervisor._Worker.start(settings)
    told = await environ(worker.process.pid)
    worker.process.kill()
    await worker.end()
    assert f"OMP_NUM_THREADS={wanted}".encode() in told.split(b"\0")


async def filed(core, spec, name="Ada Quill", **more):
    request, _ = await core.lifecycle.file(spec(name, **more), key=None, actor="admin")
    return request.id


async def test_a_worker_is_started_when_there_is_work_and_only_one(cores, spec, workers, clock):
    core = await cores()
    watch = Supervisor(core, clock)
    await watch._once()
    assert not workers.started
    await filed(core, spec)
    await watch._once()
    await watch._once()
    assert len(workers.started) == 1


async def test_no_worker_is_started_while_the_engine_is_away(cores, spec, workers, clock):
    core = await cores()
    await filed(core, spec)
    core.engine.up = False
    supervisor = Supervisor(core, clock)
    await supervisor._once()
    assert not workers.started
    core.engine.up = True
    await supervisor._once()
    assert len(workers.started) == 1


async def test_what_a_dead_worker_held_is_freed_and_the_next_one_waits_a_little(cores, spec, workers, clock):
    core = await cores()
    watch = Supervisor(core, clock)
    id_ = await filed(core, spec)
    await watch._once()
    await core.registry.claim(workers.name, 15.0)
    assert not await core.registry.waiting()
    workers.process.returncode = -9
    await watch._once()
    assert await core.registry.waiting()
    assert len(workers.started) == 1
    watch._rest_until = 0.0
    await watch._once()
    assert len(workers.started) == 2
    assert (await core.registry.claim("worker-2", 15.0)).id == id_


async def test_a_worker_that_ended_well_is_followed_at_once(cores, spec, workers, clock):
    core = await cores()
    watch = Supervisor(core, clock)
    await filed(core, spec)
    await watch._once()
    workers.process.returncode = 0
    await watch._once()
    assert len(workers.started) == 2


async def test_no_worker_where_jobs_are_off(cores, spec, workers, clock):
    core = await cores()
    core.settings = core.settings.model_copy(update={"jobs": JobSettings(enabled=False)})
    await filed(core, spec)
    await Supervisor(core, clock)._once()
    assert not workers.started


async def test_what_expired_is_retired(cores, spec, workers, clock):
    core = await cores()
    id_ = await filed(core, spec, expires_at=clock() + timedelta(hours=1))
    stays = await filed(core, spec, "Bo Tarn")
    watch = Supervisor(core, clock)
    await watch._once()
    assert (await core.registry.get(id_)).state is State.SHIELDED
    clock.forward(3600)
    await watch._once()
    assert (await core.registry.get(id_)).state is State.RETIRED
    assert set(core.enforcer.policies.current.enforced) == {stays}
    await watch._once()


async def test_what_another_replica_did_is_followed(cores, spec, workers, clock):
    here, there = await cores(), await cores()
    id_ = await filed(here, spec)
    await Supervisor(there, clock)._once()
    assert set(there.enforcer.policies.current.enforced) == {id_}


async def test_a_registry_that_is_away_ends_nothing(cores, spec, workers, clock, monkeypatch, caplog):
    core = await cores()
    core.settings = core.settings.model_copy(update={"jobs": JobSettings(poll_s=0.001)})
    await filed(core, spec)
    active, failures = core.registry.active, 0

    async def away():
        nonlocal failures
        failures += 1
        if failures < 3:
            raise RegistryError("away")
        return await active()

    monkeypatch.setattr(core.registry, "active", away)
    running = asyncio.create_task(Supervisor(core, clock).run())
    while not workers.started:
        await asyncio.sleep(0.001)
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert workers.ended
    assert "RegistryError" in caplog.text


async def test_artifacts_that_nobody_refers_to_are_deleted_and_no_others(cores, spec, workers, clock, monkeypatch):
    core = await cores()
    id_ = await filed(core, spec)
    kept = await core.artifacts.put("eco", id_, {"kept": True}, {})
    await core.registry.update(id_, actor="worker", artifacts={"eco": kept.digest})
    collected = []

    async def collect(keep, older_than_s=3600.0):
        collected.append(set(keep))
        return 0

    monkeypatch.setattr(core.artifacts, "collect", collect)
    await Supervisor(core, clock)._sweep()
    assert collected == [{kept.digest}]


@pytest.mark.parametrize(("error", "asked"), [(EngineUnavailable("away"), 3), (EngineRejected("no"), 1)])
async def test_the_voice_is_asked_for_again_only_where_that_may_help(cores, workers, clock, error, asked):
    engine = ScriptedEngine(failure=error)
    core = await cores(engine)
    watch = Supervisor(core, clock)
    for _ in range(2):
        await watch._once()
        await watch._hearing
    assert engine.calls == asked
    assert core.ignorance.voice == Voice()


async def test_what_was_left_received_is_shielded_in_time_and_what_is_being_filed_is_let_be(
    cores, spec, workers, clock
):
    core = await cores()
    watch = Supervisor(core, clock)
    request, _ = await core.registry.create(spec(), idempotency_key=None, actor="admin")
    await watch._once()
    assert (await core.registry.get(request.id)).state is State.RECEIVED
    clock.forward(60)
    for _ in range(supervisor._RESUME_EVERY):
        await watch._once()
    assert (await core.registry.get(request.id)).state is State.SHIELDED
    assert request.id in core.enforcer.policies.current.enforced
