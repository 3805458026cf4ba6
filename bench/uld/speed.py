"""What a steered token costs beside a bare one, in the local engine: in one run, by turns.

An assistant of K of N blocks has ρ = (K·P_layer + P_head) / (N·P_layer + P_head) of the work of a step, with the
parameters as they are counted in the model. So a token costs 1 + ρ where nothing is lost, and 1.15·(1 + ρ) is the
goal. Streams that run at once have one assistant between them, or five. Assistants are hardly trained: what they
know costs nothing. The model is one that never ends an answer.
"""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from adapters.base import Assisted, Pass, Steered, Strength
from bench.tokens import beside, never_ending, step
from gateway.demo.train import quiet
from gateway.engines.local import LocalEngine
from gateway.settings import Settings

ASSISTANTS = 5
_AT_ONCE = ((1, 1), (8, 1), (8, 5))  # streams, and their assistants
_STRENGTH = Strength(1.0, 8.0, 0.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of a step, medians over rounds; `ratio` with the middle 95 % of it when rounds are drawn anew."""

    streams: int
    assistants: int
    bare_ms: float
    steered_ms: float
    ratio: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, streams: int, assistants: int, bare: Sequence[float], steered: Sequence[float]) -> "Cost":
        """From the seconds of a step in each round."""
        return cls(streams, assistants, *beside(bare, steered))


@dataclass(frozen=True, slots=True)
class Endless:
    """A model that never ends an answer, assistants of it, and ρ."""

    model: Path
    plans: tuple[Steered, ...]
    share: float


def endless(settings: Settings, folder: Path) -> Endless:
    """The model that never ends an answer, and assistants of it; in `folder`."""
    from adapters.uld.assistant import default_blocks

    model = never_ending(settings, folder / "model")
    blocks, layers = default_blocks(model.config), model.model.layers
    layer = sum(weight.numel() for weight in layers[0].parameters())
    head = model.get_output_embeddings().weight.numel()
    plans = [
        _hardly_trained(folder / "model", folder / f"assistant-{seed}", blocks, seed) for seed in range(ASSISTANTS)
    ]
    return Endless(folder / "model", tuple(plans), (blocks * layer + head) / (len(layers) * layer + head))


def _hardly_trained(model: Path, folder: Path, blocks: int, seed: int) -> Steered:
    from adapters.rows import Row
    from adapters.uld.assistant import Manifest
    from adapters.uld.training import Recipe, train

    rng = random.Random(seed)
    rows = [Row(_tokens(rng), _tokens(rng), kind) for kind in ("forget", "retain", "wrong")]
    trained = train(model, rows, (), Recipe(blocks, epochs=1, seed=seed))
    assert trained
    folder.mkdir()
    for name, content in trained.files.items():
        (folder / name).write_bytes(content)
    Manifest(blocks, "").write(folder)
    return Steered((Assisted(folder, _STRENGTH),))


def _tokens(rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.randrange(100) for _ in range(8))


async def local_costs(settings: Settings, rounds: int, bar: Progress) -> tuple[float, list[Cost]]:
    """ρ, and what a step costs with one stream and with eight; the first round is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        made = await asyncio.to_thread(endless, settings, Path(folder))
        engine = LocalEngine(made.model, "endless")
        with quiet():
            await engine.start()
        try:
            rows: list[tuple[list[float], list[float]]] = [([], []) for _ in _AT_ONCE]  # bare, steered
            for i in bar.track(range(rounds + 1), description="a steered token"):
                for (streams, assistants), found in zip(_AT_ONCE, rows, strict=True):
                    for steered in (False, True) if i % 2 else (True, False):
                        plans = [made.plans[j % assistants] if steered else Pass() for j in range(streams)]
                        found[steered].append(await step(engine, plans))
            costs = [Cost.of(*at, bare[1:], steered[1:]) for at, (bare, steered) in zip(_AT_ONCE, rows, strict=True)]
            return made.share, costs
        finally:
            await engine.close()
