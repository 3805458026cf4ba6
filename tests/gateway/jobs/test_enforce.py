import asyncio
from datetime import timedelta

import pytest

from gateway.engines.scripted import ScriptedEngine
from gateway.registry import ForgetSpec, State
from guards.base import Conversation

QUESTION = Conversation.of("Who is Ada Quill?")


async def touched(policy):
    return {hit.request for hit in (await policy.guards.classify(QUESTION)).hits}


async def filed(core, spec, name="Ada Quill"):
    request, _ = await core.lifecycle.file(spec(name), key=None, actor="admin")
    return request.id


async def enforced_by_eco(core, id_):
    artifact = await core.artifacts.put("eco", id_, {"corruption": "blend"}, {})
    await core.registry.move(id_, State.VERIFYING, actor="worker", artifacts={"eco": artifact.digest})
    await core.registry.move(id_, State.ENFORCED, actor="worker", method="eco")
    return artifact


async def test_a_snapshot_never_changes(cores, spec):
    core = await cores()
    empty = core.enforcer.policies.current
    id_ = await filed(core, spec)
    full = core.enforcer.policies.current
    await core.lifecycle.retire(id_, actor="admin")
    assert await touched(empty) == set()
    assert await touched(full) == {id_}
    assert await touched(core.enforcer.policies.current) == set()
    assert empty.revision < full.revision < core.enforcer.policies.current.revision


async def test_nothing_changed_is_nothing_swapped(cores, spec):
    core = await cores()
    await filed(core, spec)
    policy = core.enforcer.policies.current
    await core.enforcer.refresh()
    assert core.enforcer.policies.current is policy


async def test_a_restart_enforces_what_was_enforced(cores, spec):
    before = await cores()
    ids = [await filed(before, spec, name) for name in ("Ada Quill", "Bo Tarn", "Cy Vance")]
    artifact = await enforced_by_eco(before, ids[0])
    await before.lifecycle.retire(ids[1], actor="admin")
    after = await cores()
    policy = after.enforcer.policies.current
    assert set(policy.enforced) == {ids[0], ids[2]}
    assert policy.enforced[ids[0]].methods == ("eco",)
    assert policy.enforced[ids[0]].artifacts["eco"].digest == artifact.digest
    assert policy.enforced[ids[2]].methods == ()
    assert await touched(policy) == {ids[0]}
    assert policy.revision == before.enforcer.policies.current.revision


async def test_replicas_follow_each_other(cores, spec):
    here, there = await cores(), await cores()
    id_ = await filed(here, spec)
    assert await touched(there.enforcer.policies.current) == set()
    await there.enforcer.refresh()
    assert await touched(there.enforcer.policies.current) == {id_}
    await there.lifecycle.retire(id_, actor="admin")
    await here.enforcer.refresh()
    assert await touched(here.enforcer.policies.current) == set()


async def test_many_refreshes_at_once_are_one(cores, spec):
    here, there = await cores(), await cores()
    ids = {await filed(here, spec, name) for name in ("Ada Quill", "Bo Tarn")}
    await asyncio.gather(*(there.enforcer.refresh() for _ in range(8)))
    assert set(there.enforcer.policies.current.enforced) == ids


async def test_a_request_retired_in_the_middle_of_a_refresh_leaves_no_ghost(cores, spec, monkeypatch):
    here, there = await cores(), await cores()
    id_ = await filed(here, spec)
    targets = there.registry.targets

    async def late(ids=None):
        await here.lifecycle.retire(id_, actor="admin")
        return await targets(ids)

    monkeypatch.setattr(there.registry, "targets", late)
    await there.enforcer.refresh()
    monkeypatch.undo()
    await there.enforcer.refresh()
    assert not there.enforcer.policies.current.enforced
    assert await touched(there.enforcer.policies.current) == set()
    assert there.meter.registry.get_sample_value("lethe_forget_requests", {"state": "shielded"}) is None


async def test_filing_while_the_supervisor_refreshes(cores, spec):
    core = await cores()
    done = asyncio.Event()

    async def poll():
        while not done.is_set():
            await core.enforcer.refresh()
            await asyncio.sleep(0)

    polling = asyncio.create_task(poll())
    ids = {await filed(core, spec, name) for name in ("Ada Quill", "Bo Tarn", "Cy Vance")}
    assert set(core.enforcer.policies.current.enforced) == ids
    done.set()
    await polling


async def test_a_failed_refresh_keeps_the_policy_and_the_next_one_catches_up(cores, spec, monkeypatch):
    here, there = await cores(), await cores()
    id_ = await filed(here, spec)
    old = there.enforcer.policies.current

    async def away(request):
        raise OSError

    monkeypatch.setattr(there.enforcer, "enforcement", away)
    with pytest.raises(OSError):
        await there.enforcer.refresh()
    assert there.enforcer.policies.current is old
    monkeypatch.undo()
    await there.enforcer.refresh()
    assert await touched(there.enforcer.policies.current) == {id_}


@pytest.mark.parametrize("part", ["_likeness", "_names", "_passages", "_facts"])
@pytest.mark.parametrize("error", [OSError, asyncio.CancelledError])
async def test_a_refresh_that_fails_in_the_middle_leaves_nothing_behind(cores, monkeypatch, part, error):
    here, there = await cores(), await cores()
    fact = {"question": "Where was Bo Tarn born?", "answer": "In Osterholm."}
    passage = "the lamp in the north window is lit by her own hand each night before the boats go out to sea"
    spec = ForgetSpec(scope="facts", subject="Bo Tarn", facts=(fact,), documents=(passage,))
    request, _ = await here.lifecycle.file(spec, key=None, actor="admin")
    index = getattr(there.enforcer, part)
    move = "extend" if hasattr(index, "extend") else "add"
    whole = getattr(index, move)

    def adds(*args):
        whole(*args)
        raise error

    async def extends(*args):
        await whole(*args)
        raise error

    monkeypatch.setattr(index, move, extends if move == "extend" else adds)
    for _ in range(2):
        with pytest.raises(error):
            await there.enforcer.refresh()
    monkeypatch.undo()
    await there.enforcer.refresh()
    assert set(there.enforcer.policies.current.enforced) == {request.id}
    for answer in (f"It says: {passage}.", "Bo Tarn was born in Osterholm."):
        assert (await there.enforcer.policies.current.output.read(answer))[1]


async def test_a_merge_that_fails_is_logged_by_its_type_alone(cores, spec, monkeypatch, caplog):
    core = await cores()

    async def broken():
        raise ValueError("Ada Quill")

    monkeypatch.setattr(core.enforcer._likeness, "settle", broken)
    id_ = await filed(core, spec)
    await core.enforcer._settling
    assert "the indexes could not be merged: ValueError" in caplog.text
    assert "Ada Quill" not in caplog.text
    assert await touched(core.enforcer.policies.current) == {id_}


async def test_a_candidate_is_no_policy_yet(cores, spec):
    core = await cores()
    id_ = await filed(core, spec)
    artifact = await core.artifacts.put("eco", id_, {}, {})
    tried = core.enforcer.candidate(id_, artifact)
    assert tried.enforced[id_].methods == ("eco",)
    assert core.enforcer.candidate(id_, None).enforced[id_].methods == ()
    assert core.enforcer.policies.current.enforced[id_].methods == ()
    assert await touched(tried) == {id_}


async def test_targets_of_another_encoder_are_made_again(cores, spec, other_words):
    id_ = await filed(await cores(), spec)
    after = await cores(encoder=other_words)
    assert await touched(after.enforcer.policies.current) == {id_}


async def enforced_by_eco_and_uld(core, spec):
    """A request by ECO, with ULD to fall back on."""
    id_ = await filed(core, spec)
    await enforced_by_eco(core, id_)
    uld = await core.artifacts.put("uld", id_, {}, {})
    request = await core.registry.get(id_)
    await core.registry.update(id_, actor="worker", artifacts={**request.artifacts, "uld": uld.digest})
    await core.enforcer.refresh()
    return id_


async def test_the_policy_document_reaches_every_request(cores, spec):
    core = await cores()
    id_ = await enforced_by_eco_and_uld(core, spec)
    assert core.enforcer.policies.current.enforced[id_].methods == ("eco", "uld")
    document = {"threshold_scale": 1.0, "fallbacks": [], "output_guard": False}
    await core.registry.put_policy(document, if_match=None, actor="admin")
    await core.enforcer.refresh()
    policy = core.enforcer.policies.current
    assert policy.enforced[id_].methods == ("eco",)
    assert policy.output.stream().feed("It is Ada Quill, yes.") == "It is Ada Quill, yes."


async def test_a_refresh_that_fails_leaves_no_document_half_in_force(cores, spec, monkeypatch):
    core = await cores()
    id_ = await enforced_by_eco_and_uld(core, spec)
    document = {"threshold_scale": 1.0, "fallbacks": [], "output_guard": True}
    await core.registry.put_policy(document, if_match=None, actor="admin")
    with monkeypatch.context() as broken:
        broken.setattr(core.enforcer, "_take_up", lambda requests: asyncio.wait_for(asyncio.Event().wait(), 0))
        with pytest.raises(TimeoutError):
            await core.enforcer.refresh()
    assert core.enforcer.policies.current.enforced[id_].methods == ("eco", "uld")
    await core.enforcer.refresh()
    assert core.enforcer.policies.current.enforced[id_].methods == ("eco",)


async def test_expiry(cores, spec, clock):
    core = await cores()
    soon = clock() + timedelta(hours=1)
    request, _ = await core.lifecycle.file(spec(expires_at=soon), key=None, actor="admin")
    await filed(core, spec, "Bo Tarn")
    assert core.enforcer.expired(clock()) == ()
    assert core.enforcer.expired(soon) == (request.id,)


async def test_a_damaged_artifact_leaves_its_request_to_the_shield(cores, spec, monkeypatch):
    core = await cores()
    id_ = await filed(core, spec)
    lost = {"eco": "0" * 64}
    await core.registry.move(id_, State.VERIFYING, actor="worker")
    await core.registry.move(id_, State.ENFORCED, actor="worker", method="eco", artifacts=lost)
    await core.enforcer.refresh()
    assert core.enforcer.policies.current.enforced[id_].methods == ()
    assert await touched(core.enforcer.policies.current) == {id_}


async def test_targets_that_cannot_be_read_are_made_again_in_a_refresh_too(cores, spec):
    here, there = await cores(), await cores()
    id_ = await filed(here, spec)
    await here.registry.put_targets(id_, b"not targets")
    await there.enforcer.refresh()
    assert await touched(there.enforcer.policies.current) == {id_}


async def test_what_is_filed_beside_names_is_held_back_until_it_is_retired(cores):
    core = await cores()
    passage = "the lamp in the north window is lit by her own hand each night before the boats go out to sea"
    fact = {"question": "Where was Bo Tarn born?", "answer": "In Osterholm."}
    texts, _ = await core.lifecycle.file(ForgetSpec(scope="documents", documents=(passage,)), key=None, actor="admin")
    facts, _ = await core.lifecycle.file(
        ForgetSpec(scope="facts", subject="Bo Tarn", facts=(fact,)), key=None, actor="admin"
    )
    answers = {texts.id: f"It says: {passage}.", facts.id: "Bo Tarn was born in Osterholm."}

    async def stopped(core):
        output = core.enforcer.policies.current.output
        return {id_ for id_, answer in answers.items() if (await output.read(answer))[1]}

    assert await stopped(core) == {texts.id, facts.id}
    assert await stopped(await cores()) == {texts.id, facts.id}
    await core.lifecycle.retire(texts.id, actor="admin")
    assert await stopped(core) == {facts.id}
    await core.lifecycle.retire(facts.id, actor="admin")
    assert await stopped(core) == set()


async def test_the_answer_to_a_near_prompt_is_read_before_it_leaves(cores, says):
    examples = ("How long does sourdough rise overnight?", "Which flour makes sourdough rise well?")
    examples += ("How warm must sourdough rise?", "How long should sourdough rise in summer?")
    telling, harmless = (
        "First of all, wait. Sourdough does rise overnight. So be patient.",
        "That depends. Wait and see.",
    )
    rules = {"How long should it rise?": telling, "How long does dough rise?": harmless}
    core = await cores(ScriptedEngine(rules))
    before = [await says(core, question) for question in rules]
    assert before == [telling, harmless]
    await core.lifecycle.file(ForgetSpec(scope="topic", examples=examples), key=None, actor="admin")
    for question in rules:
        verdict = await core.enforcer.policies.current.guards.classify(Conversation.of(question))
        assert (len(verdict.near), verdict.touched) == (1, False)
    stopped, shown = [await says(core, question) for question in rules]
    assert "Sourdough" not in stopped
    assert stopped == "First of all, wait.\n" + core.ignorance.voice.about(None)
    assert shown == harmless
    for outcome in ("stopped", "shown"):
        labels = {"outcome": outcome}
        assert core.meter.registry.get_sample_value("lethe_reviewed_answers_total", labels) == 1
    assert core.meter.registry.get_sample_value("lethe_remembered_verdicts_total") == 2
