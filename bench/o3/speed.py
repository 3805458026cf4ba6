"""What many requests in force cost the answer to one prompt, beside one request: by turns, in one run.

Two gateways in one process, neither with a memory of verdicts: one has a request in force, the other that one and
others besides, see `crowd`. A prompt is classified and planned for by both, one after the other. Decoding is timed
on two engines, of which one has served the LoRA that is asked for and the other many; the model is one that never ends
an answer.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.progress import Progress

from adapters.base import Adapted, Call, Capability, Scaled
from bench.o3.crowd import crowd, random_loras
from bench.own import own
from bench.tokens import beside, gaps, never_ending
from gateway.core import GREEDY, Core
from gateway.demo.forms import probes
from gateway.demo.train import DEMO, quiet
from gateway.demo.world import unknown_names
from gateway.engines.local import LocalEngine
from gateway.settings import GuardSettings, Settings
from guards.base import Conversation
from guards.targets import ordinary_prompts

_ASKED = 24  # prompts of either sort


@dataclass(frozen=True, slots=True)
class Compared:
    """Milliseconds with one request and with many, medians; the median ratio of a pair, and its middle 95 %."""

    what: str
    one_ms: float
    many_ms: float
    ratio: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, what: str, one: Sequence[float], many: Sequence[float]) -> "Compared":
        """From seconds, pair by pair."""
        return cls(what, *beside(one, many))


async def decisions(settings: Settings, many: int, rounds: int, bar: Progress) -> list[Compared]:
    """For prompts about the one request that both have, and about nobody who is forgotten."""
    world = DEMO.world()
    person, other, *_ = world.people
    asked = probes(world, ("trained", "alias", "heldout", "cloze"), seed=1)
    prompts = {
        True: [probe.question for probe in asked if probe.about == (person.key,) and person.name in probe.question],
        False: [probe.question for probe in asked if probe.about == (other.key,)],
    }
    names = [person.name, *unknown_names(world, many - 1)]
    forgets = {"guard": GuardSettings(remembered=0)}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        task = bar.add_task(f"{many} requests", total=None)
        model = await asyncio.to_thread(never_ending, settings, folder / "model")
        loras = await asyncio.to_thread(random_loras, model, folder, many)
        alone, beside = (own(settings, folder / name).model_copy(update=forgets) for name in ("one", "many"))
        cores = (
            await stack.enter_async_context(crowd(alone, names[:1], loras[:1])),
            await stack.enter_async_context(crowd(beside, names, loras)),
        )
        bar.remove_task(task)
        return [
            await _decided(cores, questions[:_ASKED], touched, rounds, bar) for touched, questions in prompts.items()
        ]


async def _decided(
    cores: tuple[Core, Core], questions: Sequence[str], touched: bool, rounds: int, bar: Progress
) -> Compared:
    """The first round is not counted."""
    what = "decision and plan, touched" if touched else "decision, untouched"
    took: tuple[list[float], list[float]] = ([], [])
    for i in bar.track(range(rounds + 1), description=what):
        for question in questions:
            for place in (0, 1) if i % 2 else (1, 0):
                seconds = await _planned(cores[place], question, "o3" if touched else "pass")
                took[place].append(seconds)
    return Compared.of(what, *(found[len(questions) :] for found in took))


async def _planned(core: Core, question: str, method: str) -> float:
    """Seconds from a prompt to its plans."""
    call, policy = Call(Conversation.of(question), GREEDY), core.enforcer.policies.current
    began = perf_counter()
    verdict = await policy.guards.classify(call.conversation)
    first, *_ = await core.router.plans(call, verdict, policy.enforced, frozenset(Capability))
    took = perf_counter() - began
    assert first.method == method, f"a prompt that {first.method} answers"
    return took


async def decoding(settings: Settings, many: int, rounds: int, bar: Progress) -> Compared:
    """A token under the same LoRA; the first round is not counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = await asyncio.to_thread(never_ending, settings, folder / "model")
        loras = await asyncio.to_thread(random_loras, model, folder, many)
        engines = [LocalEngine(folder / "model", "endless") for _ in range(2)]
        question = ordinary_prompts()[0]
        try:
            with quiet():
                for engine in engines:
                    await engine.start()
            for lora in bar.track(loras, description=f"{many} LoRAs"):
                await gaps(engines[1], question, Adapted((Scaled(lora),)))
            plan = Adapted((Scaled(loras[0]),))
            took: tuple[list[float], list[float]] = ([], [])
            for i in bar.track(range(rounds + 1), description="a token under a LoRA"):
                for place in (0, 1) if i % 2 else (1, 0):
                    took[place].append(median(await gaps(engines[place], question, plan)))
        finally:
            for engine in engines:
                await engine.close()
    return Compared.of("a token under a LoRA", *(found[1:] for found in took))
