import logging

import pytest

from gateway.jobs.targets import GUARD, source_of
from gateway.registry import ForgetSpec, State
from guards.base import Conversation

QUESTION = "Who is Ada Quill?"
HEARD = ("Her oven stands in Osterholm beside the mill.",)


async def learned(core, spec, **more):
    """A request that is enforced with learned targets."""
    request, _ = await core.lifecycle.file(spec(**more), key=None, actor="admin")
    held = await core.enforcer.targets.learn(request, HEARD)
    await core.registry.move(
        request.id, State.VERIFYING, actor="worker", artifacts={GUARD: held.artifact}, thresholds=held.thresholds()
    )
    await core.registry.move(request.id, State.ENFORCED, actor="worker")
    await core.enforcer.refresh()
    return request.id, held


async def touched(core, text=QUESTION):
    verdict = await core.enforcer.policies.current.guards.classify(Conversation.of(text))
    assert not verdict.failures
    return {hit.request for hit in verdict.hits}


async def test_learned_targets_serve_here_there_and_after_a_restart(cores, spec):
    here, there = await cores(), await cores()
    id_, held = await learned(here, spec)
    await there.enforcer.refresh()
    for core in (here, there, await cores()):
        serving = core.enforcer._held[id_]
        assert serving.artifact == held.artifact
        assert serving.targets.to_bytes() == held.targets.to_bytes()
        assert await touched(core) == {id_}


async def test_a_candidate_is_found_by_its_own_targets_and_changes_nobody(cores):
    core = await cores()
    topic = ForgetSpec(scope="topic", examples=("How is it proofed?", "How is it baked?", "How is it cut?"))
    request, _ = await core.lifecycle.file(topic, key=None, actor="admin")
    policy = core.enforcer.policies.current
    tried = core.enforcer.candidate(request.id, None, await core.enforcer.targets.learn(request, HEARD))
    after = core.enforcer.candidate(request.id, None)
    for one, found in ((policy, False), (tried, True), (after, False)):
        assert (await one.guards.classify(Conversation.of(*HEARD))).touched is found
        assert (await one.guards.classify(Conversation.of("How is it baked?"))).touched
    assert core.enforcer._held[request.id].artifact is None


@pytest.mark.parametrize("harm", ["missing", "damaged", "encoder"])
async def test_what_cannot_be_read_is_left_to_the_shield(cores, spec, tmp_path, other_words, caplog, harm):
    caplog.set_level(logging.WARNING)
    id_, held = await learned(await cores(), spec)
    file = tmp_path / "artifacts" / held.artifact / "targets"
    if harm == "missing":
        file.unlink()
    if harm == "damaged":
        file.write_bytes(file.read_bytes()[:-3])
    core = await cores(encoder=other_words if harm == "encoder" else None)
    assert core.enforcer._held[id_].artifact is None
    assert await touched(core) == {id_}
    assert held.artifact[:12] in caplog.text
    assert not any(word in caplog.text for word in ("Ada", "Quill", "Osterholm"))


async def test_neither_shield_nor_artifact(cores, spec, tmp_path):
    before = await cores()
    id_, held = await learned(before, spec)
    (tmp_path / "artifacts" / held.artifact / "targets").unlink()
    await before.registry.put_targets(id_, b"not targets")
    core = await cores()
    assert await touched(core) == {id_}


async def test_what_was_learned_is_retired_without_a_trace(cores, spec):
    core, never = await cores(), await cores()
    id_, _ = await learned(core, spec)
    await core.lifecycle.retire(id_, actor="admin")
    assert await touched(core) == set()
    assert core.enforcer._held == {}
    assert core.enforcer.policies.current.enforced == never.enforcer.policies.current.enforced
    assert not core.enforcer._likeness.view(frozenset({id_})).shelves
    assert not core.enforcer._names.view(frozenset({id_})).automata


async def test_nothing_learned_lies_in_clear(cores, spec, tmp_path):
    core = await cores()
    id_, held = await learned(core, spec)
    await cores()
    for path in (tmp_path / "artifacts").rglob("*"):
        assert path.is_dir() or b"osterholm" not in path.read_bytes().lower()
    assert not list(core.artifacts._clear.iterdir())
    assert "Osterholm" not in repr(held) + repr(source_of(await core.registry.get(id_), HEARD))
