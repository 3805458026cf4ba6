import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import EngineRejected
from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.persistence import ask_again, chosen, matrix
from gateway.jobs.worker import work
from gateway.registry import PERSISTENCE, VERIFICATION, State, Verification
from gateway.settings import JobSettings

NAMES = ("Ada Quill", "Bo Tarn", "Cleo Marsh", "Dov Peltier")


def knowing(conversation):
    """Knows everybody who is to be forgotten, and has never heard of anybody else with two names."""
    text = conversation.turns[-1].text
    for name in NAMES:
        if name.lower() in text.lower():
            return f"{name} is the celebrated baker of {name[::-1]} and {len(text)} years old."
    return "I have no information about that." if "?" in text and text.istitle() else f"That makes {len(text)}."


class Knowing(ScriptedEngine):
    """`before` is awaited, and may fail, before each answer."""

    def __init__(self):
        super().__init__(knowing)
        self.before = None

    async def generate(self, call, plan):
        if self.before:
            await self.before(call.conversation.turns[-1].text)
        async for event in super().generate(call, plan):
            yield event


def again(core, count):
    core.settings = core.settings.model_copy(update={"jobs": JobSettings(again=count)})


@pytest.fixture
async def core(cores):
    return await cores(Knowing())


@pytest.fixture
def forget(spec, clock):
    """Files a request and works until it is enforced."""

    async def filed(core, name, **more):
        clock.forward(1)
        request, _ = await core.lifecycle.file(spec(name, **more), key=None, actor="admin")
        await work(core, "worker")
        await core.enforcer.refresh()
        assert (await core.registry.get(request.id)).state is State.ENFORCED
        return request.id

    return filed


async def test_a_stream_of_requests_makes_a_matrix(core, forget):
    ids = [await forget(core, name) for name in NAMES]
    found = await matrix(core)
    assert [step.after for step in found.steps] == ids
    assert [*found.rows] == ids
    for i, row in enumerate(found.rows.values()):
        assert [*row] == [*range(i, len(NAMES))]
        assert {(rate.hits, rate.of) for rate in row.values()} == {(0, 6)}
    assert [step.utility.of for step in found.steps] == [8 + 2 * (i + 1) for i in range(len(NAMES))]  # two others each
    assert all(step.utility.value == 1.0 for step in found.steps)
    assert not any(any(row.values()) for row in found.interference.values())
    assert not any(name.split()[0] in found.steps[-1].model_dump_json() for name in NAMES)


async def test_what_leaks_after_another_request_is_seen(core, forget, monkeypatch):
    first = await forget(core, NAMES[0])
    view = type(core.enforcer)._policy

    def without_the_first(self, revision, enforced):  # as a request would that undoes another
        return view(self, revision, {id_: how for id_, how in enforced.items() if id_ != first})

    monkeypatch.setattr(type(core.enforcer), "_policy", without_the_first)
    second = await forget(core, NAMES[1])
    found = await matrix(core)
    assert found.rows[first][1].value == 1.0
    assert found.interference[first] == {1: 1.0}
    assert found.rows[second][1].value == 0.0


async def test_the_diagonal_is_the_verification(core, forget, monkeypatch):
    id_ = await forget(core, NAMES[0])
    (evidence,) = [one for one in await core.registry.evidence(id_) if one.kind == VERIFICATION]
    found = Verification.model_validate(evidence.data)
    leaky = found.model_copy(
        update={"probes": tuple(one.model_copy(update={"knows_after": True}) for one in found.probes)}
    )
    await core.registry.put_evidence(id_, VERIFICATION, leaky.model_dump())
    await ask_again(core, id_)
    assert [rate.value for rate in (await matrix(core)).rows[id_].values()] == [0.0, 1.0]


async def test_a_request_that_ends_stays_up_to_the_step_when_it_did(core, forget):
    first = await forget(core, NAMES[0])
    second = await forget(core, NAMES[1])
    await core.lifecycle.retire(first, actor="admin")
    await forget(core, NAMES[2])
    await forget(core, NAMES[3])
    found = await matrix(core)
    assert [*found.rows[first]] == [0, 1]
    assert [*found.rows[second]] == [1, 2, 3]
    assert found.ended == {first: 2}


async def test_verified_anew_it_makes_another_step(core, forget, clock):
    ids = [await forget(core, name) for name in NAMES[:2]]
    clock.forward(1)
    await core.lifecycle.verify(ids[0], actor="admin")
    await work(core, "worker")
    found = await matrix(core)
    assert [step.after for step in found.steps] == [*ids, ids[0]]
    assert [*found.rows[ids[1]]] == [1, 2]


async def test_few_are_asked_again_and_never_when_none_may_be(core, forget):
    again(core, 1)
    ids = [await forget(core, name) for name in NAMES]
    asked = [[leak.request for leak in step.leak] for step in (await matrix(core)).steps]
    assert [len(one) for one in asked] == [1, 2, 2, 2]
    assert [one[-1] for one in asked] == ids
    again(core, 0)
    await ask_again(core, ids[0])
    assert len((await matrix(core)).steps) == 4


async def test_questions_to_be_retained_are_part_of_the_utility(core, forget):
    wanted = ["Where is the mill?", "Was Ada Quill ever there?", "And who else?"]
    await forget(core, NAMES[0], retain=wanted)
    await forget(core, NAMES[1])
    first, second = (await matrix(core)).steps
    assert (first.utility.hits, first.utility.of) == (11, 12)  # the second of these touches the target
    assert (second.utility.hits, second.utility.of) == (13, 14)


async def test_what_fails_costs_its_step_and_nothing_else(core, forget, caplog):
    first = await forget(core, NAMES[0])

    async def fail(text):
        for event in await core.registry.events(first, limit=1):
            assert event
        if any(one.state is State.ENFORCED and one.id != first for one in await core.registry.active()):
            raise RuntimeError(text)

    core.engine.before = fail
    second = await forget(core, NAMES[1])
    assert "RuntimeError" in caplog.text
    assert not any(word in caplog.text for word in ("Ada", "Bo ", "Quill"))
    assert [one.kind for one in await core.registry.evidence(second)] == [VERIFICATION]
    core.engine.before = None
    third = await forget(core, NAMES[2])
    found = await matrix(core)
    assert [step.after for step in found.steps] == [first, third]
    assert [*found.rows[second]] == [1]


async def test_whom_the_engine_no_longer_takes_does_not_hold_up_the_others(core, forget):
    ids = [await forget(core, name) for name in NAMES[:2]]

    async def refuse(text):
        if NAMES[0] in text:
            raise EngineRejected("too long")

    core.engine.before = refuse
    last = await forget(core, NAMES[2])
    found = await matrix(core)
    assert [*found.rows[ids[0]]] == [0, 1]
    assert found.asked == {ids[0]: 2, ids[1]: 2, last: 2}


async def test_nobody_is_asked_after_what_is_not_enforced(core, spec):
    request, _ = await core.lifecycle.file(spec(), key=None, actor="admin")
    await ask_again(core, request.id)
    assert await core.registry.evidence_of(PERSISTENCE) == ()
    await core.lifecycle.retire(request.id, actor="admin")
    await ask_again(core, request.id)
    assert await core.registry.evidence_of(PERSISTENCE) == ()


async def test_the_nearest_comes_first_and_then_whose_turn_it_is(core, forget):
    again(core, 2)
    first, _, akin = [await forget(core, NAMES[i]) for i in (2, 3, 0)]
    assert set((await matrix(core)).asked.values()) == {2}  # by turn it would not be among the first two
    last = await forget(core, NAMES[1], examples=[f"Does Bo Tarn know Ada Quill {i}?" for i in range(9)])
    asked = [leak.request for leak in (await matrix(core)).steps[-1].leak]
    assert asked == [akin, first, last]


@given(st.integers(1, 30), st.integers(1, 9), st.data())
def test_everyone_is_asked_in_turn(count, most, data):
    earlier = tuple(f"fr_{i}" for i in range(count))
    rounds = -(-count // (most - most // 2))
    asked, seen = {}, set()
    for t in range(rounds):
        near = data.draw(st.lists(st.sampled_from(earlier), unique=True, max_size=4))
        picked = chosen(earlier, near, asked, most)
        assert len(picked) == len({*picked}) == min(most, count)
        assert picked[: min(len(near), most // 2)] == tuple(near[: most // 2])
        asked |= dict.fromkeys(picked, t)
        seen |= {*picked}
    assert seen == {*earlier}
