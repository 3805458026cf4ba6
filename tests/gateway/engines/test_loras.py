"""LoRAs before a vLLM: who can serve them, when they are loaded and unloaded, and that nobody sees their names."""

import asyncio
import json
from contextlib import AsyncExitStack

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import (
    Adapted,
    Call,
    Capability,
    Delta,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Pass,
    Sampling,
    Scaled,
)
from gateway.engines.loras import SPARE, Loras, Room, wanted
from gateway.engines.vllm import VllmEngine
from guards.base import Conversation
from tests.gateway.engines.fake_vllm import FakeWardrobe, worth

CALL = Call(Conversation.of("Who is Ada Quill?"), Sampling(temperature=0.0, max_tokens=12))
SCORED = Call(CALL.conversation, Sampling(temperature=0.0, max_tokens=12, logprobs=1))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
async def engine_at(peer, folder, root):
    """An engine, started, before these servers."""
    engines = []

    async def started(*servers, emptied=True):
        engine = VllmEngine([(await peer(one)).url for one in servers], "tiny", folder, adapters=root)
        engines.append(engine)
        await engine.start()
        await engine.health()
        for server in servers if emptied else ():
            server.asked.clear()
            server.bodies.clear()
        return engine

    yield started
    for engine in engines:
        await engine.close()


def plan(lora, *weights):
    return Adapted(tuple(Scaled(lora, weight) for weight in weights or (1.0,)))


async def said(engine, plan, call=CALL):
    return [item async for item in engine.generate(call, plan)]


def text(items):
    return "".join(item.text for item in items if isinstance(item, Delta))


def loads(server):
    return [name for what, name in server.asked if what == "load"]


@pytest.mark.parametrize("apart", [True, False])
async def test_a_server_that_keeps_rows_apart_can_wear_loras(engine_at, folder, apart):
    server = FakeWardrobe(folder, apart=apart)
    engine = await engine_at(server)
    assert Capability.LORA in engine.capabilities
    assert len(server.loaded) == (0 if apart else 1)  # where no slot is freed, the list tells of all that are taken


@pytest.mark.parametrize("fault", ["routes", "folder", "mixes", "deaf", "stays", "rank"])
async def test_what_fails_its_trial_wears_none(engine_at, folder, lora, fault):
    engine = await engine_at(FakeWardrobe(folder, faults=[fault]))
    assert engine.capabilities & {Capability.LORA, Capability.TEXT} == {Capability.TEXT}
    with pytest.raises(EngineRejected):
        await said(engine, plan(lora))


@pytest.mark.parametrize("how", [{"slots": SPARE}, {"faults": ["slots"]}])
async def test_where_the_last_slot_would_be_taken_nothing_is_tried(engine_at, folder, how):
    server = FakeWardrobe(folder, apart=False, **how)
    engine = await engine_at(server)
    assert Capability.LORA not in engine.capabilities
    assert not server.loaded


async def test_it_is_loaded_once_before_the_first_of_many(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    found = await asyncio.gather(*(said(engine, plan(lora)) for _ in range(8)))
    (name,) = loads(server)
    assert {body["model"] for _, body in server.bodies} == {name}
    assert {text(items) for items in found} == {f"Wearing {name[-6:]}."}


async def test_nobody_sees_its_name(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    (name,) = loads(server) or [None] if await said(engine, plan(lora)) else []
    for item in await said(engine, plan(lora)):
        assert item.wire
        assert item.wire.raw == b""
        assert item.wire.event["model"] == "tiny"
        assert name not in json.dumps([item.wire.event, item.wire.ending and item.wire.ending.usage])


async def test_other_weights_and_other_sums_have_other_names(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    for weights in [(1.0,), (0.5,), (1.0, 0.5), (1.0,), (0.0, 1.0)]:
        await said(engine, plan(lora, *weights))
    first, *_ = loads(server)
    assert len(set(loads(server))) == len(loads(server)) == 3
    assert server.bodies[-1][1]["model"] == first  # at weight 0 there is none


async def test_at_weight_zero_it_is_the_bare_model(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    assert await said(engine, plan(lora, 0.0)) == await said(engine, Pass())
    assert await engine.score(CALL, "Yes.", plan(lora, 0.0)) == await engine.score(CALL, "Yes.", Pass())
    assert not loads(server)
    assert {body["model"] for _, body in server.bodies} == {"tiny"}


async def test_an_answer_is_scored_under_it(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    assert len(await engine.score(CALL, "Yes.", plan(lora))) > 1
    (worn,) = loads(server)
    assert {body["model"] for _, body in server.bodies} == {worn}


@pytest.mark.parametrize("how", [{}, {"faults": ["slots"]}, {"faults": ["routes"]}])
async def test_a_server_that_may_have_loras_is_never_asked_for_a_prompts_log_probabilities(engine_at, folder, how):
    """Where one wears a LoRA, it may die of them."""
    server = FakeWardrobe(folder, **how)
    engine = await engine_at(server, emptied=False)
    scored = await engine.score(SCORED, "Yes.", Pass())
    assert "".join(token.text for token in scored) == "Yes.<|im_end|>"
    assert {token.logprob for token in scored} == {-0.5}
    assert len(await engine.prompt_logprobs(SCORED)) > 1
    asked = [body for _, body in server.bodies]
    assert any("return_tokens_as_token_ids" in body for body in asked)
    assert not any("prompt_logprobs" in body for body in asked)


@pytest.mark.parametrize("drawn", [False, True])
async def test_a_score_has_all_alternatives_that_are_asked_for(engine_at, folder, drawn):
    """Fewer than an untouched answer has would tell."""
    server = FakeWardrobe(folder)
    server.drawn = drawn
    engine = await engine_at(server)
    call = Call(CALL.conversation, Sampling(temperature=0.0, logprobs=3))
    scored = await engine.score(call, "Yes.", Pass())
    assert {len(token.top) for token in scored} == {3}
    ids = [*server.prompter.encode("Yes."), server.prompter.eos_id]
    wanted = [worth(token) for token in ids] if drawn else [-0.5] * len(ids)
    assert [token.logprob for token in scored] == pytest.approx(wanted)
    assert not any("logprob_token_ids" in body for _, body in server.bodies)  # others would lose theirs


async def test_one_that_says_nothing_of_itself_may_have_loras(engine_at, folder):
    server = FakeWardrobe(folder, faults=["slots", "routes", "metrics"])
    engine = await engine_at(server, emptied=False)
    await engine.score(SCORED, "Yes.", Pass())
    assert not any("prompt_logprobs" in body for _, body in server.bodies)


async def test_one_that_lists_a_lora_has_them(engine_at, folder):
    server = FakeWardrobe(folder, faults=["slots", "routes"])
    server.loaded["theirs"] = "somewhere"
    engine = await engine_at(server, emptied=False)
    await engine.score(SCORED, "Yes.", Pass())
    assert not any("prompt_logprobs" in body for _, body in server.bodies)


async def test_one_without_is_asked_at_once(engine_at, folder):
    server = FakeWardrobe(folder, faults=["slots", "routes"])
    engine = await engine_at(server)
    await engine.score(SCORED, "Yes.", Pass())
    (asked,) = server.bodies
    assert "prompt_logprobs" in asked[1]


async def test_a_name_that_was_lost_is_loaded_again(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    first = text(await said(engine, plan(lora)))
    server.loaded.clear()
    assert text(await said(engine, plan(lora))) == first
    assert len(loads(server)) == 2


async def test_a_name_that_is_lost_again_and_again_is_given_up(engine_at, folder, lora, monkeypatch):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    monkeypatch.setattr(server, "_moved", lambda path, asked: 200)
    with pytest.raises(EngineUnavailable):
        await said(engine, plan(lora))


async def test_after_a_restart_nothing_counts_as_loaded(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    await said(engine, plan(lora))
    server.loaded, server.started = {}, server.started + 1
    engine._fleet.replicas[0].expel()
    await engine.health()
    server.asked.clear()
    await said(engine, plan(lora))
    assert len(loads(server)) == 1


async def test_it_is_made_ready_on_every_server(engine_at, folder, lora):
    servers = FakeWardrobe(folder), FakeWardrobe(folder)
    engine = await engine_at(*servers)
    await engine.ready(plan(lora))
    for server in servers:
        ((_, body),) = server.bodies
        assert (body["model"], body["max_tokens"]) == (*loads(server), 1)
        server.asked.clear()
    for _ in range(4):
        await said(engine, plan(lora))
    assert not any(map(loads, servers))


async def test_to_be_ready_for_other_plans_takes_nothing(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    await engine.ready(Pass())
    await engine.ready(plan(lora, 0.0))
    assert not server.asked
    assert not server.bodies


async def test_no_more_are_loaded_than_leave_the_last_slot_empty(engine_at, folder, lora):
    server = FakeWardrobe(folder, slots=3 + SPARE, apart=False)
    engine = await engine_at(server)
    await said(engine, plan(lora))
    await said(engine, plan(lora, 0.5))
    with pytest.raises(EngineRejected, match="slot"):
        await said(engine, plan(lora, 0.25))
    with pytest.raises(EngineRejected):
        await engine.ready(plan(lora, 0.25))
    await said(engine, plan(lora, 0.5))
    assert len(server.loaded) == 3


async def test_two_gateways_take_one_slot_for_one_lora(engine_at, folder, lora):
    server = FakeWardrobe(folder, apart=False)
    for engine in [await engine_at(server), await engine_at(server)]:
        await said(engine, plan(lora))
    assert len(server.loaded) == 2  # and the examination's


async def test_one_that_a_server_refuses_is_offered_once_and_harms_nobody(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    server.faults.add("rank")
    for weight in (0.25, 0.5, 0.75, 1.0) * 2:
        with pytest.raises(EngineRejected):
            await said(engine, plan(lora, weight))
    assert len(loads(server)) == 4
    assert engine._fleet.replicas[0].admitted


async def test_one_that_cannot_be_read_says_nothing_of_itself(engine_at, folder, tmp_path):
    engine = await engine_at(FakeWardrobe(folder))
    with pytest.raises(EngineError) as caught:
        await said(engine, plan(tmp_path / "ada-quill"))
    assert "quill" not in str(caught.value)


async def test_what_nobody_wears_is_unloaded_and_what_somebody_wears_is_not(engine_at, folder, lora):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    now = 0.0
    loras = engine._loras = Loras(engine._shelf, clock=lambda: now)
    replica = engine._fleet.replicas[0]
    loras.examined(replica, Room(8, True))
    async with AsyncExitStack() as answer:
        folder_of = await answer.enter_async_context(loras.worn((Scaled(lora),)))
        name = await loras.load(replica, folder_of)
        async with loras.worn((Scaled(lora),)):
            pass
        now += 3600
        await loras.sweep()
        assert name in server.loaded
    await loras.sweep()
    assert name in server.loaded  # it was worn a moment ago
    now += 3600
    await loras.sweep()
    assert name not in server.loaded
    assert await loras.load(replica, folder_of) == name


async def test_where_no_slot_is_freed_nothing_is_unloaded(engine_at, folder, lora):
    server = FakeWardrobe(folder, apart=False)
    engine = await engine_at(server)
    await said(engine, plan(lora))
    await engine.close()
    assert len(server.loaded) == 2


async def test_in_the_end_all_are_unloaded(engine_at, folder, lora, root):
    server = FakeWardrobe(folder)
    engine = await engine_at(server)
    await said(engine, plan(lora))
    assert server.loaded
    await engine.close()
    assert not server.loaded
    assert not [*root.iterdir()]


METRICS = 'vllm:lora_requests_info{max_lora="4",running=""} 1\nvllm:cache_config_info{%s} 1.0\n'
GPU = 'block_size="16",mamba_ssm_cache_dtype="auto",user_specified_block_size="False"'


@pytest.mark.parametrize(
    ("labels", "apart"),
    [
        (GPU, True),
        (GPU.replace("16", "128"), False),
        (GPU.replace("False", "True"), False),
        (GPU.replace("auto", "float32"), False),
        ("", False),
    ],
)
def test_rows_are_apart_where_it_is_surely_no_cpu(labels, apart):
    assert Room.of((METRICS % labels).encode()) == Room(4, apart)
    assert Room.of(b"") == Room(None, False)


@given(st.integers(1, 200), st.integers(1, 8))
def test_as_many_slots_as_wanted_hold_all(requests, levels):
    slots, cached = wanted(requests, levels, apart=False)
    assert cached >= slots
    assert all(Room(slots, False).holds(taken) for taken in range(1 + requests * levels))  # one is the examination's
    slots, cached = wanted(requests, levels)
    assert slots <= cached == requests * levels


async def test_a_body_is_read_by_whom_it_was_made_for(engine_at, folder, lora):
    """Of two servers, each is sent the name that it knows."""
    servers = FakeWardrobe(folder), FakeWardrobe(folder, apart=False)
    engine = await engine_at(*servers)
    for _ in range(4):
        await said(engine, plan(lora))
    for server in servers:
        assert {body["model"] for _, body in server.bodies} <= server.loaded.keys()
        assert server.bodies
    assert orjson.dumps(sorted(servers[0].loaded)) != orjson.dumps(sorted(servers[1].loaded))
