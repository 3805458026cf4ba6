"""vLLM's prefix cache behind the gateway: no key is served from another's, nothing clean from what is corrupted."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest_asyncio

from adapters.base import Call, Delta, Pass, Plan, Sampling, Say
from adapters.eco.adapter import Eco
from adapters.eco.corruption import Corruption
from adapters.ignorance import Ignorance, Voice
from bench.serving import VllmProcess
from gateway.demo.world import World
from gateway.engines.vllm import VllmEngine
from guards.base import Conversation, Turn
from tests.vllm.conftest import CHAT, KEYS, Scene, asking, where

SMALL_TALK = "How are you? " * 100  # 400 tokens, three blocks of 128


async def saved(direct: httpx.AsyncClient) -> float:
    """Prompt tokens that the cache has spared vLLM so far."""
    lines = (await direct.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:prefix_cache_hits_total"))


async def test_two_keys_share_no_prefix(http: httpx.AsyncClient, direct: httpx.AsyncClient, scene: Scene) -> None:
    for person in (scene.known, scene.ignorance, scene.eco):
        body = asking(f"{secrets.token_hex()} {SMALL_TALK} {where(person)}", max_tokens=1)
        gained = []
        for key in (KEYS[0], KEYS[1], KEYS[0], KEYS[1]):
            before = await saved(direct)
            response = await http.post(CHAT, json=body, headers={"authorization": f"Bearer {key}"})
            assert response.status_code == 200
            gained.append(await saved(direct) - before)
        assert gained[:2] == [0, 0]
        assert min(gained[2:]) >= 256


async def test_vllm_asked_directly_shares_nothing_with_a_key(
    http: httpx.AsyncClient, direct: httpx.AsyncClient, scene: Scene
) -> None:
    body = asking(f"{secrets.token_hex()} {SMALL_TALK} {where(scene.known)}", max_tokens=1)
    await http.post(CHAT, json=body)
    before = await saved(direct)
    await direct.post(CHAT, json=body)
    assert await saved(direct) == before


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(vllm: VllmProcess, served_model: Path) -> AsyncIterator[VllmEngine]:
    found = VllmEngine([vllm.url], vllm.name, served_model)
    await found.start()
    await found.health()
    yield found
    await found.close()


async def test_corrupted_and_clean_keep_apart(engine: VllmEngine, served_model: Path, world: World) -> None:
    """The same long prompts, clean, corrupted and behind a ready answer, all at once and again for one tenant: each
    is answered as for a tenant of its own, whose cache is empty."""
    eco = Eco(served_model, Ignorance(Voice()))

    async def said(call: Call, plan: Plan, tenant: str) -> str:
        call = replace(call, tenant=tenant)
        return "".join([item.text async for item in engine.generate(call, plan) if isinstance(item, Delta)])

    exchanges = [
        turn
        for one in world.people[20:28]
        for turn in (Turn("user", where(one)), Turn("assistant", f"{one.name} lives in {one.attributes['city']}."))
    ]
    asked: list[tuple[Call, Plan]] = []
    for person in world.people[60:63]:
        turns = (*exchanges, Turn("user", where(person)))
        call = await engine.rendered(Call(Conversation(turns), Sampling(temperature=0, max_tokens=20)))
        ignorance = Say("I have no information about that.", Conversation.of("Who is Oswin Tarrabel?"))
        asked += [(call, Pass()), (call, ignorance)]
        for touched in (0, len(exchanges)):
            corruption = Corruption("fixed_noise", 2.0, b"0123456789abcdef")
            asked.append((call, eco.corrupt(call, [(frozenset({touched}), corruption)])))

    alone = [await said(call, plan, secrets.token_hex()) for call, plan in asked]
    for i in range(0, len(alone), 4):
        clean, ready, _, corrupted = alone[i : i + 4]
        assert len({clean, ready, corrupted}) == 3
    for _ in range(3):
        together = await asyncio.gather(*(said(call, plan, "together") for call, plan in asked))
        assert together == alone
        asked, alone = asked[::-1], alone[::-1]
