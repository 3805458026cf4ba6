"""The engine on a real vLLM beside the one in process: what ECO makes of the demo model is the same."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.base import Call, Delta, Embeds, Engine, Plan, Sampling
from adapters.eco.adapter import Eco
from adapters.eco.corruption import Corruption
from adapters.ignorance import Ignorance, Voice
from bench.serving import VllmProcess
from gateway.demo.forms import probes
from gateway.demo.world import World
from gateway.engines.local import LocalEngine
from gateway.engines.vllm import VllmEngine
from guards.base import Conversation, Turn

STRENGTHS = (0.0, 0.5, 1.0, 2.0)
GREEDY = Sampling(temperature=0, max_tokens=24)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def remote(vllm: VllmProcess, served_model: Path) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine([vllm.url], vllm.name, served_model)
    await engine.start()
    await engine.health()
    yield engine
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def local(served_model: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(served_model, "demo")
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture(scope="module")
def eco(served_model: Path) -> Eco:
    return Eco(served_model, Ignorance(Voice()))


def conversations(world: World) -> list[Conversation]:
    """Forty: single questions, and some after an exchange."""
    found = probes(world, ("trained", "alias", "cloze", "relation"), seed=6)
    asked = found[:: len(found) // 40][:40]
    talk = (Turn("system", "Be brief."), Turn("user", "How are you?"), Turn("assistant", "I am fine."))
    return [
        Conversation((*talk[: i % 4 if i % 4 != 2 else 1], Turn("user", one.question))) for i, one in enumerate(asked)
    ]


async def text_under(engine: Engine, call: Call, plan: Plan) -> str:
    return "".join([event.text async for event in engine.generate(call, plan) if isinstance(event, Delta)])


def in_whole(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before servers that take no part of a message as embeddings."""
    monkeypatch.setattr(engine, "_all", replace(engine._all, parts=False))


@pytest.mark.parametrize("transport", ["parts", "whole"])
async def test_eco_answers_as_in_process(
    remote: VllmEngine,
    local: LocalEngine,
    eco: Eco,
    world: World,
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if transport == "whole":
        in_whole(remote, monkeypatch)
    differing = changed = 0
    for i, conversation in enumerate(conversations(world)):
        call = await remote.rendered(Call(conversation, GREEDY))
        assert call.prompt == (await local.rendered(Call(conversation, GREEDY))).prompt
        last = frozenset({len(conversation.turns) - 1})
        texts = set()
        for strength in STRENGTHS[i % 2 :: 2]:
            plan = eco.corrupt(call, [(last, Corruption("fixed_noise", strength, b"0123456789abcdef"))])
            text = await text_under(remote, call, plan)
            differing += text != await text_under(local, call, plan)
            texts.add(text)
        changed += len(texts) > 1
    assert differing == 0
    assert changed > 20  # the corruption was read


async def test_embeddings_of_a_whole_prompt_look_as_parts_do(
    remote: VllmEngine, eco: Eco, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await remote.rendered(Call(conversations(world)[0], GREEDY))
    plan = eco.corrupt(call, [(frozenset({0}), Corruption("fixed_noise", 2.0, b"0123456789abcdef"))])

    async def shapes(plan: Embeds) -> list[object]:
        found = []
        async for item in remote.generate(call, plan):
            assert item.wire
            event = {**item.wire.event, "choices": [{**one, "delta": None} for one in item.wire.event["choices"]]}
            found.append({"choices": [[*one] for one in event["choices"]], "keys": [*event], "object": event["object"]})
        return found

    parts = await shapes(plan)
    in_whole(remote, monkeypatch)
    assert await shapes(plan) == parts
