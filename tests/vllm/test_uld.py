"""ULD inside a real vLLM: steered answers are those of the local engine, all others those of a server without it."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from transformers import AutoModelForCausalLM

from adapters.base import (
    Assisted,
    Call,
    Capability,
    Delta,
    Engine,
    Pass,
    Plan,
    Sampling,
    Steered,
    Strength,
    TokenLogprob,
)
from bench.serving import VllmError, VllmProcess
from gateway.demo.forms import probes
from gateway.demo.world import World
from gateway.engines.local import LocalEngine
from gateway.engines.vllm import VllmEngine
from guards.base import Conversation, Turn
from tests.adapters.uld.laid import lay

PARALLEL, ROUNDS, MOST_ROUNDS, BLOCKS = 8, 3, 12, 1
STRENGTH = Strength(
    8.0, 12.0, 0.1, first=14.0, tail=2.0
)  # far more than a trained one is given: random beliefs are weak
# Each prompt in pieces of 64 tokens, among whatever else runs, and room for half of what runs at once.
TIGHT = (
    *("--max-num-batched-tokens", "64", "--max-num-seqs", "8"),
    *("--max-model-len", "320", "--block-size", "32", "--num-gpu-blocks-override", "26"),
)
Said = tuple[TokenLogprob, ...]


@pytest.fixture(scope="module")
def plans(served_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Steered]:
    """One assistant, another, and both: random ones change an answer as well as any."""
    model = AutoModelForCausalLM.from_pretrained(served_model)
    folder = tmp_path_factory.mktemp("artifacts")
    one, other = (Assisted(lay(folder / str(seed), model, BLOCKS, seed=seed, scale=1.0), STRENGTH) for seed in range(2))
    return Steered((one,)), Steered((other,)), Steered((one, other))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def local(served_model: Path) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(served_model, "demo")
    await engine.start()
    yield engine
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=[(), TIGHT], ids=["roomy", "tight"])
async def pair(
    request: pytest.FixtureRequest, vllm: VllmProcess, served_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[VllmEngine, VllmEngine]]:
    """An engine before a server with the plugin, and one before the same server without."""
    folder = tmp_path_factory.mktemp("uld")
    laid = folder / "assistants"
    laid.mkdir()
    async with AsyncExitStack() as servers:
        start = servers.enter_async_context
        bare = vllm
        if request.param:
            bare = await start(VllmProcess(served_model, folder / "bare.log", arguments=request.param))
        steered = await start(
            VllmProcess(served_model, folder / "steered.log", arguments=request.param, assistants=laid)
        )
        engines = [VllmEngine([one.url], one.name, served_model, adapters=laid) for one in (steered, bare)]
        for engine in engines:
            await engine.start()
            await engine.health()
        yield engines[0], engines[1]
        for engine in engines:
            await engine.close()
    assert not [*laid.iterdir()]


def calls(world: World) -> list[Call]:
    """Chats of nearly 192 tokens (six blocks of 32), soon seven; asked again, their prefixes are cached."""
    found = probes(world, ("trained", "alias", "cloze", "relation"), seed=5)
    sampling = Sampling(temperature=0, max_tokens=96, logprobs=4)
    asked = []
    for start in range(0, 7 * PARALLEL, 7):
        talk = [
            Turn(role, text)
            for one in found[start : start + 6]
            for role, text in (("user", one.question), ("assistant", "I have no information about this."))
        ]
        asked.append(Call(Conversation((*talk, Turn("user", found[start + 6].question))), sampling))
    return asked


async def said(engine: Engine, call: Call, plan: Plan) -> tuple[str, Said]:
    deltas = [item async for item in engine.generate(call, plan) if isinstance(item, Delta)]
    return "".join(one.text for one in deltas), tuple(token for one in deltas for token in one.tokens)


async def preemptions(engine: VllmEngine) -> float:
    url = engine._fleet.replicas[0].url.removesuffix("/v1")
    async with httpx.AsyncClient() as http:
        told = (await http.get(f"{url}/metrics")).text
    return sum(
        float(count) for count in re.findall(r"^vllm:num_preemptions_total{.*} ([0-9.e+]+)$", told, re.MULTILINE)
    )


async def test_half_of_what_runs_at_once_is_steered_and_the_rest_is_as_without(
    pair: tuple[VllmEngine, VllmEngine],
    local: LocalEngine,
    plans: Sequence[Steered],
    world: World,
    request: pytest.FixtureRequest,
) -> None:
    steered, bare = pair
    changed, tight = 0, "tight" in request.node.name
    batch = calls(world)
    for shift in range(MOST_ROUNDS):
        if shift >= ROUNDS and (not tight or await preemptions(steered)):
            break
        wanted = [plans[(i + shift) % len(plans)] if (i + shift) % 2 else Pass() for i in range(PARALLEL)]
        found = await asyncio.gather(*map(said, [steered] * PARALLEL, batch, wanted))
        plain = await asyncio.gather(*map(said, [bare] * PARALLEL, batch, [Pass()] * PARALLEL))
        for i, call in enumerate(batch):
            if isinstance(wanted[i], Pass):
                assert found[i] == plain[i]
            else:
                text, known = await said(local, call, wanted[i])
                assert found[i][0] == text
                told = [one.logprob for one in found[i][1]]  # the end too, where it has an event
                assert len(known) <= len(told) <= len(known) + 1
                assert told[: len(known)] == pytest.approx([one.logprob for one in known], abs=1e-3)
                changed += text != plain[i][0]
    assert changed >= PARALLEL / 2  # the assistants were heard: random ones do not change every answer
    if tight:  # which requests run together, and so how many blocks they want, is the server's
        assert await preemptions(steered) > 0


async def test_an_answer_is_scored_as_it_is_said(
    pair: tuple[VllmEngine, VllmEngine], local: LocalEngine, plans: Sequence[Steered], world: World
) -> None:
    call = replace(calls(world)[0], sampling=Sampling())
    for plan in plans:
        found = await pair[0].score(call, "I have no information about this.", plan)
        wanted = await local.score(call, "I have no information about this.", plan)
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in wanted], abs=1e-3)


async def test_a_server_without_the_plugin_steers_nothing(
    pair: tuple[VllmEngine, VllmEngine], plans: Sequence[Steered], world: World
) -> None:
    steered, bare = pair
    assert Capability.LOGITS in steered.capabilities
    assert Capability.LOGITS not in bare.capabilities
    assert steered._all.drawn  # its server shows what tokens are drawn from
    assert not bare._all.drawn
    with pytest.raises(Exception, match="cannot honour"):
        await said(bare, calls(world)[0], plans[0])


async def test_what_was_laid_and_is_gone_ends_at_once(
    pair: tuple[VllmEngine, VllmEngine], plans: Sequence[Steered], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    steered, _ = pair
    assert steered._shelf
    asked = {"lethe_uld": steered._shelf.asked(plans[0])["lethe_uld"].replace(steered._shelf._own, "0" * 16)}
    monkeypatch.setattr(steered._shelf, "asked", lambda plan: asked)
    assert (await said(steered, calls(world)[0], plans[0]))[0] == ""


async def test_a_server_that_would_show_what_is_hidden_does_not_start(served_model: Path, tmp_path: Path) -> None:
    (tmp_path / "assistants").mkdir()
    arguments = ("--logprobs-mode", "raw_logprobs")
    server = VllmProcess(served_model, tmp_path / "log", arguments=arguments, assistants=tmp_path / "assistants")
    with pytest.raises(VllmError):
        await server.start()
    assert "ULD cannot be served here: --logprobs-mode processed_logprobs" in (tmp_path / "log").read_text()
