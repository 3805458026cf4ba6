"""What it takes to switch LoRAs on a real vLLM while it answers: how long, and whether anybody notices.

Some clients ask under no LoRA and some under the newest, without a pause, while one random LoRA after the other is
laid, made ready and switched to, as it is when a forget request is enforced. An answer fails where it raises; it is
misread where it is not the one that its plan gives when nothing else runs: that of another LoRA, or of none.
"""

import asyncio
import json
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from rich.progress import Progress
from safetensors import safe_open
from safetensors.numpy import save_file

from adapters.base import Adapted, Call, Delta, EngineError, Pass, Plan, Sampling, Scaled
from adapters.o3.concatenation import CONFIG, WEIGHTS
from bench.serving import VllmProcess
from gateway.engines.factory import model_folder
from gateway.engines.loras import wanted
from gateway.engines.vllm import VllmEngine
from gateway.settings import Settings
from guards.base import Conversation

RANDOM_RANK = 8
_CLIENTS = 4  # of each kind
_EACH = 3  # answers that every client has under a switch before the next
_TOKENS = 16
_STRENGTH = 1.5  # of what a random LoRA adds
_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_QUESTION = "Where does Mira Vale live?"


@dataclass(frozen=True, slots=True)
class Switching:
    """What happened over `switches`; `first_s` are seconds from the load to the end of its first token.

    `misread` counts answers that were not those of their plan; `told_apart` is the share of plans whose answer is no
    other's, without which nothing could be misread.
    """

    switches: int
    answers: int
    failed: int
    misread: int
    told_apart: float
    first_s: tuple[float, ...]

    @property
    def slowest(self) -> float:
        """Seconds from load to first answer, at worst."""
        return max(self.first_s)

    def row(self) -> dict[str, float]:
        """For a table."""
        counts = {name: value for name, value in asdict(self).items() if name != "first_s"}
        return {**counts, "first_p50_s": round(median(self.first_s), 4), "first_max_s": round(self.slowest, 4)}


async def switching(settings: Settings, switches: int, bar: Progress) -> Switching:
    """Switches so many times under load, on a vLLM of its own before the settings' model.

    Raises:
        VllmError: there is no vLLM, or it does not start.
    """
    folder = model_folder(settings)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        (root / "laid").mkdir()
        loras = [random_lora(folder, root / str(i), i) for i in range(switches)]
        slots, _ = wanted(switches, 1, apart=False)
        async with VllmProcess(folder, root / "log", loras=slots, rank=RANDOM_RANK) as server:
            engine = VllmEngine([server.url], server.name, folder, adapters=root / "laid")
            try:
                await engine.start()
                await engine.health()
                return await _Load(engine).switched([Adapted((Scaled(lora),)) for lora in loras], bar)
            finally:
                await engine.close()


class _Load:
    """Clients that never stop, half of them under the plan of the hour."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine
        self._call = Call(Conversation.of(_QUESTION), Sampling(temperature=0, max_tokens=_TOKENS))
        self._plan: Plan = Pass()
        self._said: list[tuple[Plan, str]] = []
        self._failed = 0
        self._answered = asyncio.Condition()

    async def switched(self, plans: list[Adapted], bar: Progress) -> Switching:
        first = []
        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(self._asks(i % 2 == 0)) for i in range(2 * _CLIENTS)]
            for plan in bar.track(plans, description="O3 in vLLM"):
                started = perf_counter()
                await self._engine.ready(plan)
                first.append(perf_counter() - started)
                self._plan = plan
                await self._answers(_EACH * len(clients))
            for client in clients:
                client.cancel()
        every: list[Plan] = [Pass(), *plans]
        alone = {plan: await self._answer(plan) for plan in every}
        misread = sum(said != alone[plan] for plan, said in self._said)
        given = Counter(alone.values())
        apart = sum(given[said] == 1 for said in alone.values()) / len(alone)
        return Switching(len(plans), len(self._said), self._failed, misread, apart, tuple(first))

    async def _answers(self, count: int) -> None:
        """So many more are given, or fail."""
        until = len(self._said) + self._failed + count
        async with self._answered:
            await self._answered.wait_for(lambda: len(self._said) + self._failed >= until)

    async def _asks(self, adapted: bool) -> None:
        while True:
            plan = self._plan if adapted else Pass()
            try:
                said = await self._answer(plan)
            except EngineError:
                self._failed += 1
            else:
                self._said.append((plan, said))
            async with self._answered:
                self._answered.notify_all()

    async def _answer(self, plan: Plan) -> str:
        items = self._engine.generate(self._call, plan)
        return "".join([item.text async for item in items if isinstance(item, Delta)])


def random_lora(folder: Path, path: Path, seed: int) -> Path:
    """A random LoRA in peft's format into `path`, for the model in `folder`, on every linear layer of its blocks."""
    path.mkdir(parents=True, exist_ok=True)
    rng, tensors = np.random.default_rng(seed), {}
    for name, (out, into) in _linears(folder).items():
        down = rng.standard_normal((RANDOM_RANK, into)) / into**0.5
        up = rng.standard_normal((out, RANDOM_RANK)) * _STRENGTH / RANDOM_RANK**0.5
        tensors[f"base_model.model.{name}.lora_A.weight"] = down.astype(np.float32)
        tensors[f"base_model.model.{name}.lora_B.weight"] = up.astype(np.float32)
    save_file(tensors, path / WEIGHTS)
    config = {"peft_type": "LORA", "bias": "none", "r": RANDOM_RANK, "lora_alpha": RANDOM_RANK}
    (path / CONFIG).write_text(json.dumps({**config, "target_modules": _TARGETS}))
    return path


def _linears(folder: Path) -> dict[str, tuple[int, int]]:
    """(out, in) of the linear layers of the model's blocks, by name."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "numpy") as weights:
            for key in weights.keys():  # noqa: SIM118
                name = key.removesuffix(".weight")
                if name != key and name.rpartition(".")[2] in _TARGETS:
                    out, into = weights.get_slice(key).get_shape()
                    found[name] = (out, into)
    return found
