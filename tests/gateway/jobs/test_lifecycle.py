import asyncio

import pytest

from gateway.errors import Conflict, Unavailable
from gateway.jobs.lifecycle import Lifecycle
from gateway.registry import State
from guards.base import Conversation

KNOWS = "She is the celebrated baker of Ulm and 17 years old."
IGNORANT = "I have no information about Ada Quill."
QUESTION = "Who is Ada Quill?"


async def touched(core, text):
    return (await core.enforcer.policies.current.guards.classify(Conversation.of(text))).touched


async def states(core):
    return [request.state for request in (await core.registry.page()).items]


async def test_a_request_is_in_force_when_the_call_returns(cores, spec, says):
    core = await cores()
    assert await says(core, QUESTION) == KNOWS
    request, created = await core.lifecycle.file(spec(), key=None, actor="admin")
    assert created
    assert (request.state, request.method) == (State.SHIELDED, "ignorance")
    assert request.thresholds["threshold"] > 0
    assert await says(core, QUESTION) == IGNORANT
    assert await says(core, "What is two and two?") == "That makes 20."


async def test_the_same_call_twice_is_one_request(cores, spec):
    core = await cores()
    first, created = await core.lifecycle.file(spec(), key="k", actor="admin")
    again, anew = await core.lifecycle.file(spec(), key="k", actor="admin")
    assert (first.id, created, anew) == (again.id, True, False)


async def test_calls_that_race_raise_one_shield_and_none_takes_it_down(cores, spec, says):
    core = await cores()
    filed = await asyncio.gather(*(core.lifecycle.file(spec(), key="k", actor="admin") for _ in range(5)))
    assert len({request.id for request, _ in filed}) == 1
    assert {request.state for request, _ in filed} == {State.SHIELDED}
    assert sum(created for _, created in filed) == 1
    assert await states(core) == [State.SHIELDED]
    assert await says(core, QUESTION) == IGNORANT


async def test_replicas_that_race_do_too(cores, spec, says):
    here, there = await cores(), await cores()
    filed = await asyncio.gather(
        *(core.lifecycle.file(spec(), key="k", actor="admin") for core in (here, there, here, there))
    )
    assert {request.state for request, _ in filed} == {State.SHIELDED}
    for core in (here, there):
        await core.enforcer.refresh()
        assert await says(core, QUESTION) == IGNORANT


async def test_a_racing_call_that_fails_leaves_the_others_shield(cores, spec, says):
    core = await cores()
    calls = 0
    shielded = asyncio.Event()

    async def second_fails():
        nonlocal calls
        calls += 1
        if calls == 2:
            await shielded.wait()
            raise RuntimeError

    core.encoder.before = second_fails
    first = asyncio.create_task(core.lifecycle.file(spec(), key="k", actor="admin"))
    second = asyncio.create_task(core.lifecycle.file(spec(), key="k", actor="admin"))
    request, _ = await first
    shielded.set()
    with pytest.raises(RuntimeError):
        await second
    assert (await core.registry.get(request.id)).state is State.SHIELDED
    core.encoder.before = None
    assert await says(core, QUESTION) == IGNORANT


async def test_a_duplicate_is_a_conflict_that_names_the_field(cores, spec):
    core = await cores()
    await core.lifecycle.file(spec(), key="a", actor="admin")
    with pytest.raises(Conflict) as refused:
        await core.lifecycle.file(spec(), key="b", actor="admin")
    assert refused.value.param == "subject"
    assert "Ada" not in str(refused.value)


@pytest.mark.parametrize(("error", "raised"), [(None, Unavailable), (RuntimeError("x"), RuntimeError)])
async def test_a_shield_that_cannot_be_raised_leaves_nothing_behind(cores, spec, says, failing, error, raised):
    core = await cores()
    core.encoder.before = failing(error)
    with pytest.raises(raised):
        await core.lifecycle.file(spec(), key=None, actor="admin")
    core.encoder.before = None
    assert await states(core) == [State.ROLLED_BACK]
    assert await core.registry.targets() == {}
    assert await says(core, QUESTION) == KNOWS
    request, _ = await core.lifecycle.file(spec(), key=None, actor="admin")
    assert request.state is State.SHIELDED


async def test_an_encoder_that_hangs_is_an_error_and_holds_up_nobody(cores, spec, says):
    core = await cores()
    await core.lifecycle.file(spec(), key=None, actor="admin")
    core.encoder.before = asyncio.Event().wait
    impatient = Lifecycle(core.registry, core.enforcer, patience=0.05)
    with pytest.raises(Unavailable, match="nothing is filed"):
        await impatient.file(spec("Cyril Moss"), key=None, actor="admin")
    core.encoder.before = None
    assert sorted(await states(core)) == [State.ROLLED_BACK, State.SHIELDED]  # of one millisecond: in any order
    request, _ = await core.lifecycle.file(spec("Cyril Moss"), key=None, actor="admin")
    assert request.state is State.SHIELDED
    assert await says(core, QUESTION) == IGNORANT


async def test_the_same_call_may_come_again_after_it_was_undone(cores, spec, says, failing):
    core = await cores()
    core.encoder.before = failing(None)
    with pytest.raises(Unavailable):
        await core.lifecycle.file(spec(), key="k", actor="admin")
    core.encoder.before = None
    request, created = await core.lifecycle.file(spec(), key="k", actor="admin")
    assert (request.state, created) == (State.SHIELDED, True)
    assert await says(core, QUESTION) == IGNORANT


@pytest.mark.parametrize("with_targets", [False, True])
async def test_a_crash_in_the_middle_of_filing_is_finished_before_anything_is_answered(cores, spec, says, with_targets):
    before = await cores()
    request, _ = await before.registry.create(spec(), idempotency_key=None, actor="admin")
    if with_targets:
        await before.enforcer.targets.shield(request)
    assert await states(before) == [State.RECEIVED]
    after = await cores()
    await after.lifecycle.resume()
    assert await states(after) == [State.SHIELDED]
    assert await says(after, QUESTION) == IGNORANT


@pytest.mark.parametrize(("end", "state"), [("retire", State.RETIRED), ("rollback", State.ROLLED_BACK)])
async def test_an_ended_request_leaves_the_gateway_as_if_it_had_never_been(cores, spec, says, end, state):
    core = await cores()
    never = await cores()
    request, _ = await core.lifecycle.file(spec(), key=None, actor="admin")
    other, _ = await core.lifecycle.file(spec("Bo Tarn"), key=None, actor="admin")
    ended = await getattr(core.lifecycle, end)(request.id, actor="admin")
    assert (ended.state, ended.method) == (state, None)
    assert await says(core, QUESTION) == await says(never, QUESTION) == KNOWS
    assert set(core.enforcer.policies.current.enforced) == {other.id}
    assert set(await core.registry.targets()) == {other.id}
    with pytest.raises(Conflict):
        await getattr(core.lifecycle, end)(request.id, actor="admin")
    again, created = await core.lifecycle.file(spec(), key=None, actor="admin")
    assert created
    assert again.id != request.id
    assert await says(core, QUESTION) == IGNORANT


async def test_a_request_retired_while_its_shield_is_raised_does_not_come_back(cores, spec, says):
    core = await cores()
    encoding, go_on = asyncio.Event(), asyncio.Event()

    async def wait():
        encoding.set()
        await go_on.wait()

    core.encoder.before = wait
    filing = asyncio.create_task(core.lifecycle.file(spec(), key=None, actor="admin"))
    await encoding.wait()
    core.encoder.before = None
    (request,) = (await core.registry.page()).items
    await core.lifecycle.retire(request.id, actor="admin")
    go_on.set()
    with pytest.raises(Unavailable):
        await filing
    assert await states(core) == [State.RETIRED]
    assert await core.registry.targets() == {}
    assert await says(core, QUESTION) == KNOWS


async def test_verify_sends_back_what_has_been_through_it(cores, spec):
    core = await cores()
    request, _ = await core.lifecycle.file(spec(), key=None, actor="admin")
    with pytest.raises(Conflict):
        await core.lifecycle.verify(request.id, actor="admin")
    for path, to in [
        ((State.VERIFYING, State.ENFORCED), State.VERIFYING),
        ((State.FAILED,), State.SHIELDED),
    ]:
        for state in path:
            await core.registry.move(request.id, state, actor="worker")
        moved = await core.lifecycle.verify(request.id, actor="admin")
        assert (moved.state, moved.attempts, moved.error, moved.method) == (to, 0, None, "ignorance")
        await core.enforcer.refresh()
        assert await touched(core, QUESTION)


async def test_an_alias_that_says_little_is_a_warning_without_the_alias(cores, spec):
    core = await cores()
    request, _ = await core.lifecycle.file(spec(aliases=["Ada Quill", "Al"]), key=None, actor="admin")
    assert any(warning.startswith("aliases[1]:") for warning in request.warnings)
    assert not any("Al" in warning.split() for warning in request.warnings)


@pytest.mark.parametrize(("facts", "method", "warned"), [(7, "uld", True), (8, "uld", False), (3, "auto", False)])
async def test_too_little_to_verify_a_method_with_is_a_warning(cores, spec, facts, method, warned):
    core = await cores()
    filed = [{"question": f"Where did Ada Quill bake in {1990 + i}?", "answer": "Ulm"} for i in range(facts)]
    body = spec(scope="facts", facts=filed, aliases=[], method=method)
    request, _ = await core.lifecycle.file(body, key=None, actor="admin")
    assert any("4 are needed" in warning for warning in request.warnings) is warned


@pytest.mark.parametrize("subject", ["Ada Quill", None])
async def test_facts_of_nobody_are_a_warning(cores, spec, subject):
    core = await cores()
    filed = [{"question": "Where did Ada Quill bake?", "answer": "Ulm"}]
    body = spec(scope="facts", facts=filed, aliases=[], subject=subject)
    request, _ = await core.lifecycle.file(body, key=None, actor="admin")
    assert any(warning.startswith("subject:") for warning in request.warnings) is (subject is None)
