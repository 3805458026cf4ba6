import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE

import pytest

from adapters.base import AdapterError, EngineUnavailable
from gateway.errors import Conflict
from gateway.jobs import worker
from gateway.jobs.worker import promote, work
from gateway.registry import VERIFICATION, State, Verification
from gateway.settings import Settings
from guards.base import Conversation

QUESTION = "Who is Ada Quill?"
IGNORANT = "I have no information about Ada Quill."


async def filed(core, spec, **more):
    request, _ = await core.lifecycle.file(spec(**more), key=None, actor="admin")
    return request.id


async def worked(core, name="worker"):
    done = await work(core, name)
    await core.enforcer.refresh()
    return done


async def test_nothing_waits_nothing_is_done(cores):
    assert await worked(await cores()) == 0


async def test_ignorance_has_nothing_to_learn_and_is_verified(cores, spec, says):
    core = await cores()
    id_ = await filed(core, spec)
    assert await worked(core) == 1
    request = await core.registry.get(id_)
    assert (request.state, request.method, request.error) == (State.ENFORCED, "ignorance", None)
    assert request.evidence["passed"]
    assert request.evidence["leak"]["before"]["value"] == 1.0
    assert request.evidence["leak"]["after"]["value"] == 0.0
    assert request.evidence["retention"]["after"]["value"] == 1.0
    assert await says(core, QUESTION) == IGNORANT


async def test_learned_targets_serve_once_they_were_verified(cores, spec, mind):
    engine = mind()
    core = await cores(engine)
    id_ = await filed(core, spec, documents=["Ada Quill bakes in Ulm. Quill won the Golden Loaf."])
    shield = await core.registry.get(id_)
    assert shield.thresholds["artifact"] is None
    assert shield.thresholds["classifier"]["learned"] == 0
    await worked(core)
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.ENFORCED, "ignorance")
    digest = request.artifacts["guard"]
    assert request.thresholds["artifact"] == digest
    assert request.thresholds["classifier"]["learned"] > 300
    assert request.thresholds["judged"]["negatives"] > 300
    assert request.thresholds["texts"]["positives"] > shield.thresholds["texts"]["positives"]
    held = core.enforcer._held[id_]
    assert (held.artifact, held.targets.classifier.learned) == (digest, request.thresholds["classifier"]["learned"])
    artifact = await core.artifacts.get(digest)
    assert (artifact.method, artifact.manifest["heard"]) == ("guard", 1)
    noted = [event.data for event in await core.registry.events(id_) if event.kind == "progress"]
    assert {"method": "guard", "heard": 1} in noted
    shown = json.dumps([artifact.manifest, dict(request.thresholds), noted])
    assert not any(word in shown for word in ("Ada", "Quill", "baker", "Loaf"))


async def test_learned_targets_that_do_not_pass_leave_the_shield(cores, spec, monkeypatch, says):
    core = await cores()
    id_ = await filed(core, spec)
    verify = worker.verify

    async def only_the_shield(core, request, artifact, held):
        found = await verify(core, request, artifact, held)
        return found.model_copy(update={"passed": held.artifact is None})

    monkeypatch.setattr(worker, "verify", only_the_shield)
    await worked(core)
    request = await core.registry.get(id_)
    assert (request.state, request.evidence["rounds"]) == (State.ENFORCED, 2)
    assert request.thresholds["artifact"] is None
    assert core.enforcer._held[id_].artifact is None
    assert await says(core, QUESTION) == IGNORANT


async def test_the_shield_stays_while_its_request_is_learned(cores, spec, mind, says):
    """Wherever a worker is killed: what it learned serves nobody yet."""
    engine = mind()
    core, server = await cores(engine), await cores()
    id_ = await filed(core, spec)
    seen = set()

    async def look(plan):
        await server.enforcer.refresh()
        state = (await server.registry.get(id_)).state
        verdict = await server.enforcer.policies.current.guards.classify(Conversation.of(QUESTION))
        seen.add((state, verdict.touched, server.enforcer._held[id_].artifact is None))

    engine.before = look
    await worked(core)
    assert seen == {
        (State.LEARNING, True, True),
        (State.VERIFYING, True, True),
        (State.ENFORCED, True, False),  # asked again
    }
    await server.enforcer.refresh()
    assert server.enforcer._held[id_].artifact == (await server.registry.get(id_)).artifacts["guard"]
    assert await says(server, QUESTION) == IGNORANT


async def test_eco_is_learned_verified_and_enforced(cores, spec, says):
    core = await cores(eco=True)
    id_ = await filed(core, spec, method="eco")
    assert await worked(core) == 1
    request = await core.registry.get(id_)
    assert (request.state, request.method, request.error) == (State.ENFORCED, "eco", None)
    artifact = await core.artifacts.get(request.artifacts["eco"])
    assert artifact.manifest["leak"] == 0.0
    assert 0 < artifact.manifest["strength"] <= 6
    assert "Ada" not in str(artifact.manifest)
    assert core.enforcer.policies.current.enforced[id_].methods == ("eco",)
    assert await says(core, QUESTION) == IGNORANT
    assert await says(core, "What is two and two?") == "That makes 20."
    (evidence,) = [item for item in await core.registry.evidence(id_) if item.kind == VERIFICATION]
    assert Verification.model_validate(evidence.data).passed
    states = [event.kind for event in await core.registry.events(id_)]
    assert [state for state in states if state in set(State)] == [
        "shielded",
        "learning",
        "verifying",
        "enforced",
    ]


async def test_auto_takes_ignorance_where_eco_does_not_hold(cores, spec, says, mind):
    core = await cores(mind(numb=True), eco=True)
    id_ = await filed(core, spec)
    await worked(core)
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.ENFORCED, "ignorance")
    passed = [item.data["passed"] for item in await core.registry.evidence(id_) if item.kind == VERIFICATION]
    assert passed == [False] * worker._ROUNDS + [True]
    assert await says(core, QUESTION) == IGNORANT


async def test_what_does_not_pass_is_learned_anew(cores, spec, monkeypatch):
    core = await cores(eco=True)
    id_ = await filed(core, spec, method="eco")
    verify, digests, guards = worker.verify, [], set()

    async def strict_at_first(core, request, artifact, held):
        digests.append(artifact.digest)
        guards.add(held.artifact)
        found = await verify(core, request, artifact, held)
        return found.model_copy(update={"passed": len(digests) > 1})

    monkeypatch.setattr(worker, "verify", strict_at_first)
    await worked(core)
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.ENFORCED, "eco")
    assert len(set(digests)) == 2
    assert request.artifacts["eco"] == digests[-1]
    assert guards == {request.artifacts["guard"]}


async def test_a_method_asked_for_by_name_fails_rather_than_become_another(cores, spec, says, mind):
    core = await cores(mind(numb=True), eco=True)
    id_ = await filed(core, spec, method="eco")
    await worked(core)
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.FAILED, "ignorance")
    assert request.error == "verification did not pass"
    assert await says(core, QUESTION) == IGNORANT


async def test_what_nothing_can_prove_is_not_learned_more_strongly(cores, spec, monkeypatch, mind):
    core = await cores(mind(), eco=True)
    id_ = await filed(core, spec, method="eco")
    verify, digests = worker.verify, []

    async def of_nothing_known(core, request, artifact, held):
        digests.append(artifact.digest)
        found = await verify(core, request, artifact, held)
        unknown = {"knows_before": False, "knows_after": False}
        probes = tuple(one.model_copy(update=unknown) if one.aim == "forget" else one for one in found.probes)
        return found.model_copy(update={"passed": False, "probes": probes})

    monkeypatch.setattr(worker, "verify", of_nothing_known)
    await worked(core)
    request = await core.registry.get(id_)
    assert len(set(digests)) == 1
    assert (request.state, request.method) == (State.FAILED, "ignorance")
    assert "knows too little" in request.error


async def test_what_held_once_and_holds_no_more_goes_back_to_its_shield(cores, spec, says, mind):
    engine = mind()
    core = await cores(engine, eco=True)
    id_ = await filed(core, spec, method="eco")
    await worked(core)
    engine.numb = True
    assert await says(core, QUESTION) != IGNORANT
    await core.lifecycle.verify(id_, actor="admin")
    await worked(core)
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.FAILED, "ignorance")
    assert await says(core, QUESTION) == IGNORANT


async def test_a_method_that_is_not_there_fails_with_the_shield_up(cores, spec, says):
    core = await cores()
    asked = [("Ada Quill", "eco"), ("Bo Tarn", "o3")]
    ids = [await filed(core, spec, name=name, method=method) for name, method in asked]
    assert await worked(core) == 2
    for id_ in ids:
        request = await core.registry.get(id_)
        assert (request.state, request.method) == (State.FAILED, "ignorance")
        assert "method" in request.error
    assert await says(core, QUESTION) == IGNORANT


@pytest.mark.parametrize("state", [State.LEARNING, State.VERIFYING])
async def test_what_a_killed_worker_left_is_taken_up_where_it_was(cores, spec, state, clock):
    core = await cores(eco=True)
    id_ = await filed(core, spec, method="eco")
    await core.registry.claim("killed", 15.0)
    await core.registry.move(id_, State.LEARNING, actor="worker")
    if state is State.VERIFYING:
        await core.lifecycle._enforcer.refresh()
        learned = await worker.learn(core, await core.registry.get(id_))
        await core.registry.move(id_, state, actor="worker", artifacts={"eco": learned.digest})
    assert await worked(core) == 0
    clock.forward(20)
    assert await worked(core) == 1
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.ENFORCED, "eco")
    if state is State.VERIFYING:  # where its guard was not learned, the shield goes on
        assert request.artifacts == {"eco": learned.digest}
        assert request.thresholds["artifact"] is None
    else:
        assert request.thresholds["artifact"] == request.artifacts["guard"]


class Interrupts:
    """Does something once, in the middle of learning."""

    def __init__(self, act):
        self.act, self.done = act, False

    async def __call__(self, plan):
        if plan.method == "eco" and not self.done:
            self.done = True
            await self.act()


async def test_a_request_retired_while_it_is_learned_stays_retired_and_the_next_is_learned(cores, spec, mind, clock):
    engine = mind()
    core = await cores(engine, eco=True)
    first = await filed(core, spec, method="eco")
    clock.forward(1)  # the older is learned first
    second = await filed(core, spec, name="Bo Tarn")
    engine.before = Interrupts(lambda: core.lifecycle.retire(first, actor="admin"))
    assert await worked(core) == 2
    assert (await core.registry.get(first)).state is State.RETIRED
    assert (await core.registry.get(second)).state is State.ENFORCED


async def test_trouble_with_a_request_that_was_retired_meanwhile_is_nobodys(cores, spec, mind):
    engine = mind()
    core = await cores(engine, eco=True)
    id_ = await filed(core, spec, method="eco")

    async def retire_and_fail():
        await core.lifecycle.retire(id_, actor="admin")
        raise AdapterError("too late")

    engine.before = Interrupts(retire_and_fail)
    assert await worked(core) == 1
    assert (await core.registry.get(id_)).state is State.RETIRED


async def test_a_lost_lease_fails_nobody(cores, spec, mind, clock):
    engine = mind()
    core = await cores(engine, eco=True)
    id_ = await filed(core, spec, method="eco")

    async def lose_and_fail():
        clock.forward(60)
        assert (await core.registry.claim("another", 15.0)).id == id_
        raise AdapterError("of no interest")

    engine.before = Interrupts(lose_and_fail)
    assert await worked(core) == 1
    request = await core.registry.get(id_)
    assert (request.state, request.error) == (State.LEARNING, None)
    await core.registry.renew(id_, "another", 15.0)  # still its own


async def test_a_lost_lease_ends_the_work_at_once(cores, spec, mind, clock, monkeypatch):
    monkeypatch.setattr(worker, "_LEASE_S", 0.03)
    engine = mind()
    core = await cores(engine, eco=True)
    id_ = await filed(core, spec, method="eco")

    async def lose_and_hang():
        clock.forward(60)
        assert (await core.registry.claim("another", 15.0)).id == id_
        await asyncio.Event().wait()

    engine.before = Interrupts(lose_and_hang)
    assert await asyncio.wait_for(worked(core), 10) == 1
    assert (await core.registry.get(id_)).state is State.LEARNING


async def test_a_lease_is_renewed_while_work_goes_on(cores, spec, mind, clock, monkeypatch):
    monkeypatch.setattr(worker, "_LEASE_S", 0.03)
    engine = mind()
    core = await cores(engine, eco=True)
    await filed(core, spec, method="eco")
    renewed = asyncio.Event()
    renew = core.registry.renew

    async def noted(*given):
        await renew(*given)
        renewed.set()

    monkeypatch.setattr(core.registry, "renew", noted)
    engine.before = Interrupts(renewed.wait)
    await asyncio.wait_for(worked(core), 10)


async def test_an_engine_that_is_away_is_tried_again_and_given_up_in_the_end(cores, spec, mind):
    engine = mind()
    core = await cores(engine, eco=True)
    id_ = await filed(core, spec, method="eco")
    tries = 0

    async def away(plan):
        nonlocal tries
        if plan.method == "eco":
            tries += 1
            raise EngineUnavailable("away, and Ada Quill")

    engine.before = away
    assert await worked(core) == core.settings.jobs.attempts
    request = await core.registry.get(id_)
    assert (request.state, request.method) == (State.FAILED, "ignorance")
    assert "Ada" not in request.error
    assert tries >= core.settings.jobs.attempts


async def test_an_engine_that_comes_back_is_enough(cores, spec, mind):
    engine = mind()
    core = await cores(engine, eco=True)
    id_ = await filed(core, spec, method="eco")

    async def once():
        raise EngineUnavailable("away")

    engine.before = Interrupts(once)
    assert await worked(core) == 2
    assert (await core.registry.get(id_)).state is State.ENFORCED


async def test_an_engine_that_is_gone_is_waited_for_and_no_attempt_is_counted(cores, spec, mind):
    engine = mind()
    core = await cores(engine, eco=True)
    id_ = await filed(core, spec, method="eco")

    async def gone():
        engine.up = False
        raise EngineUnavailable("gone")

    engine.before = Interrupts(gone)
    assert await worked(core) == 0
    request = await core.registry.get(id_)
    assert request.state is not State.FAILED
    assert request.attempts == 0
    engine.up = True
    assert await worked(core) == 1
    assert (await core.registry.get(id_)).state is State.ENFORCED


async def test_promotion_of_what_somebody_moved_is_a_conflict(cores, spec):
    core = await cores()
    id_ = await filed(core, spec)
    request = await core.registry.get(id_)
    await core.lifecycle.retire(id_, actor="admin")
    with pytest.raises(Conflict):
        await promote(core, request)


async def test_failures_are_logged_without_text(cores, spec, mind, caplog):
    engine = mind()
    core = await cores(engine, eco=True)
    await filed(core, spec, method="eco")

    async def fail():
        raise RuntimeError("Ada Quill")

    engine.before = Interrupts(fail)
    await worked(core)
    assert "RuntimeError" in caplog.text
    assert "Ada" not in caplog.text


async def test_a_worker_that_ends_in_an_error_says_its_type_alone(tmp_path):
    """What it prints comes into the server's log."""
    settings = Settings(state_dir=tmp_path, engine={"kind": "local", "model": str(tmp_path / "Ada Quill")})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.jobs.worker", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin
    process.stdin.write(f"worker\n{settings.model_dump_json()}\n".encode())
    await process.stdin.drain()
    said = await asyncio.wait_for(process.stderr.read(), 60)
    assert await process.wait() == 1
    assert re.fullmatch(
        rb"lethe\.worker the worker ended with SettingsError at [\w./:]+\n", said
    )  # its words name a folder
