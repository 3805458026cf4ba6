"""What LoRAs cost the rows of a batch in the local engine: a step of every mix beside one of bare rows, by turns.

Two engines: one that has never seen a LoRA, on which all streams are bare, and one that has served many. The
model is one that never ends an answer. `peft`'s own mixed batches were measured too, and are not here: see LOG.md.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from adapters.base import Adapted, Pass, Scaled
from bench.o3.crowd import random_loras
from bench.tokens import beside, gaps, never_ending, step
from gateway.demo.train import quiet
from gateway.engines.local import LocalEngine
from gateway.settings import Settings
from guards.targets import ordinary_prompts

MIXES: Mapping[str, tuple[tuple[int, ...], ...]] = {  # for every stream the LoRAs that it wears
    "one, bare": ((),),
    "one, a LoRA": ((0,),),
    "one, two LoRAs": ((0, 1),),
    "eight, bare": ((),) * 8,
    "eight, one LoRA": ((0,),) * 8,
    "eight, half of them one LoRA": ((0,), ()) * 4,
    "eight, a LoRA each": tuple((i,) for i in range(8)),
    "eight, two LoRAs each": tuple((i, i + 1) for i in range(8)),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of a step, medians over rounds; `ratio` with the middle 95 % of it when rounds are drawn anew."""

    mix: str
    bare_ms: float
    ms: float
    ratio: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, mix: str, bare: Sequence[float], worn: Sequence[float]) -> "Cost":
        """From the seconds of a step in each round."""
        return cls(mix, *beside(bare, worn))


async def costs(settings: Settings, known: int, rounds: int, bar: Progress) -> list[Cost]:
    """Of every mix; the first round is not counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = await asyncio.to_thread(never_ending, settings, folder / "model")
        loras = await asyncio.to_thread(random_loras, model, folder, known)
        bare, knowing = (LocalEngine(folder / "model", "endless") for _ in range(2))
        found: dict[str, tuple[list[float], list[float]]] = {mix: ([], []) for mix in MIXES}
        try:
            with quiet():
                await bare.start()
                await knowing.start()
            for lora in bar.track(loras, description=f"{known} LoRAs"):
                await gaps(knowing, ordinary_prompts()[0], Adapted((Scaled(lora),)))
            for i in bar.track(range(rounds + 1), description="a token under LoRAs"):
                for mix, streams in MIXES.items():
                    worn = [Adapted(tuple(Scaled(loras[j]) for j in each)) for each in streams]
                    for place in (0, 1) if i % 2 else (1, 0):
                        took = await (step(knowing, worn) if place else step(bare, [Pass()] * len(streams)))
                        found[mix][place].append(took)
        finally:
            await bare.close()
            await knowing.close()
        return [Cost.of(mix, *(seconds[1:] for seconds in took)) for mix, took in found.items()]
