"""LoRAs on a real vLLM: adapted answers are those of the local engine, all others those of a server without LoRAs."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.base import Adapted, Call, Capability, Delta, Engine, EngineRejected, Pass, Plan, Sampling, Scaled, Usage
from bench.o3.vllm import random_lora
from bench.serving import VllmProcess
from gateway.demo.forms import probes
from gateway.demo.world import World
from gateway.engines.local import LocalEngine
from gateway.engines.loras import SPARE, names
from gateway.engines.vllm import VllmEngine
from guards.base import Conversation

PARALLEL, ROUNDS = 8, 4
SLOTS = 24
Said = tuple[str, tuple[float, ...]]


@pytest.fixture(scope="module")
def plans(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Adapted]:
    """One LoRA, another, both at once, and one at half its weight."""
    folder = tmp_path_factory.mktemp("artifacts")
    one, other = (random_lora(served_model, folder / str(seed), seed) for seed in range(2))
    wanted = [(Scaled(one),), (Scaled(other),), (Scaled(one), Scaled(other)), (Scaled(one, 0.5),)]
    return [Adapted(loras) for loras in wanted]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def local(served_model: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(served_model, "demo")
    await engine.start()
    yield engine
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VllmProcess]:
    """With slots for LoRAs, and the plugin of ULD beside them."""
    folder = tmp_path_factory.mktemp("o3")
    (folder / "laid").mkdir()
    process = VllmProcess(served_model, folder / "log", loras=SLOTS, assistants=folder / "laid")
    async with process:
        yield process


@pytest_asyncio.fixture(loop_scope="session")
async def engines(
    vllm: VllmProcess, server: VllmProcess, served_model: Path
) -> AsyncIterator[tuple[VllmEngine, VllmEngine]]:
    """Before a server with LoRAs, and before one without."""
    laid = server.log.parent / "laid"
    async with AsyncExitStack() as closing:
        found = [VllmEngine([one.url], one.name, served_model, adapters=laid) for one in (server, vllm)]
        for engine in found:
            closing.push_async_callback(engine.close)
            await engine.start()
            await engine.health()
        yield found[0], found[1]
    assert not [*laid.iterdir()]


def calls(world: World) -> list[Call]:
    asked = probes(world, ("trained", "alias", "cloze", "relation"), seed=5)[:PARALLEL]
    sampling = Sampling(temperature=0, max_tokens=32, logprobs=4)
    return [Call(Conversation.of(one.question), sampling) for one in asked]


async def said(engine: Engine, call: Call, plan: Plan) -> Said:
    deltas = [item async for item in engine.generate(call, plan) if isinstance(item, Delta)]
    return "".join(one.text for one in deltas), tuple(token.logprob for one in deltas for token in one.tokens)


async def test_half_of_what_runs_at_once_wears_loras_and_the_rest_is_as_without(
    engines: tuple[VllmEngine, VllmEngine], local: LocalEngine, plans: Sequence[Adapted], world: World
) -> None:
    adapted, bare = engines
    assert {Capability.LORA, Capability.LOGITS} <= adapted.capabilities
    assert Capability.LORA not in bare.capabilities
    batch, changed = calls(world), 0
    for shift in range(ROUNDS):
        wanted = [plans[(i // 2 + shift) % len(plans)] if (i + shift) % 2 else Pass() for i in range(PARALLEL)]
        found = await asyncio.gather(*map(said, [adapted] * PARALLEL, batch, wanted))
        plain = await asyncio.gather(*map(said, [bare] * PARALLEL, batch, [Pass()] * PARALLEL))
        for i, call in enumerate(batch):
            if isinstance(wanted[i], Pass):
                assert found[i] == plain[i]
            else:
                text, known = await said(local, call, wanted[i])
                assert found[i][0] == text
                assert found[i][1][: len(known)] == pytest.approx(known, abs=1e-3)
                changed += text != plain[i][0]
    assert changed >= PARALLEL  # the LoRAs were heard


async def test_an_answer_is_scored_as_it_is_said(
    engines: tuple[VllmEngine, VllmEngine], local: LocalEngine, plans: Sequence[Adapted], world: World
) -> None:
    call = replace(calls(world)[0], sampling=Sampling())
    for plan in plans:
        found = await engines[0].score(call, "I have no information about this.", plan)
        wanted = await local.score(call, "I have no information about this.", plan)
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in wanted], abs=1e-3)


async def test_a_score_is_that_of_a_server_without_loras_while_others_ask(
    engines: tuple[VllmEngine, VllmEngine], plans: Sequence[Adapted], world: World
) -> None:
    """Asked for a prompt's log-probabilities, it would die; and the others have all alternatives that they ask for."""
    adapted, bare = engines
    call = replace(calls(world)[0], sampling=Sampling(logprobs=4))
    texts = ["I have no information about this.", "Über 東京 🦩 weiß niemand etwas."]

    told: set[int] = set()

    async def asks(plan: Plan) -> None:
        while True:
            items = [item async for item in adapted.generate(calls(world)[1], plan)]
            told.update(len(token.top) for item in items if isinstance(item, Delta) for token in item.tokens)

    async with asyncio.TaskGroup() as group:
        others = [group.create_task(asks(plan)) for plan in (Pass(), *plans)]
        for engine_call in (call, replace(call, raw=True)):
            for text in texts:
                found, wanted = [await engine.score(engine_call, text, Pass()) for engine in (adapted, bare)]
                assert [one.logprob for one in found] == pytest.approx([one.logprob for one in wanted], abs=1e-3)
                assert [len(one.top) for one in found] == [len(one.top) for one in wanted] == [4] * len(found)
                for one, other in zip(found, wanted, strict=True):
                    assert [value for _, value in one.top] == pytest.approx([value for _, value in other.top], abs=1e-3)
        for other in others:
            other.cancel()
    assert told == {4}


async def test_its_events_have_what_other_events_have(
    engines: tuple[VllmEngine, VllmEngine], plans: Sequence[Adapted], world: World
) -> None:
    """Field for field; and no name of a LoRA anywhere."""
    adapted, _ = engines
    call = replace(calls(world)[0], sampling=Sampling(temperature=0, max_tokens=4))
    shapes = []
    for plan in (Pass(), plans[0]):
        items = [item async for item in adapted.generate(call, plan)]
        assert isinstance(items[-1], Usage)
        events = [dict(item.wire.event) for item in items if item.wire]
        assert {event["model"] for event in events} == {"demo"}
        shapes.append(
            {
                (kind, *event, event.get("system_fingerprint"))
                for kind, event in zip(map(type, items), events, strict=True)
            }
        )
        loaded = await names(adapted._fleet.replicas[0])
        assert not any(name in json.dumps(events) for name in loaded)
    first = [shape for shape in shapes[0] if shape[0] is Usage]
    assert first == [shape for shape in shapes[1] if shape[0] is Usage]
    assert len(shapes[1] - shapes[0]) <= 1  # the opening names its prompt's ids, which are for us alone


async def test_the_last_slot_is_never_taken(
    engines: tuple[VllmEngine, VllmEngine], served_model: Path, world: World, tmp_path: Path
) -> None:
    """The server would compute rows without a LoRA as if they wore the last: each takes a slot for good."""
    adapted, bare = engines
    call, refused = calls(world)[0], 0
    plain = await said(bare, call, Pass())
    for seed in range(100, 100 + SLOTS):
        plan = Adapted((Scaled(random_lora(served_model, tmp_path / str(seed), seed)),))
        try:
            await adapted.ready(plan)
        except EngineRejected:
            refused += 1
            continue
        found, _ = await asyncio.gather(said(adapted, call, Pass()), said(adapted, call, plan))
        assert found == plain
    assert refused
    assert len(await names(adapted._fleet.replicas[0])) == SLOTS - SPARE


async def test_after_a_restart_they_are_loaded_anew(
    server: VllmProcess, engines: tuple[VllmEngine, VllmEngine], plans: Sequence[Adapted], world: World
) -> None:
    adapted, call = engines[0], calls(world)[0]
    before = await said(adapted, call, plans[0])
    await server.kill()
    await server.start()
    async with asyncio.timeout(300):
        while not adapted._fleet.replicas[0].admitted:
            await asyncio.sleep(0.1)
    assert await said(adapted, call, plans[0]) == before
    assert len(await names(adapted._fleet.replicas[0])) == 2  # and the examination's
