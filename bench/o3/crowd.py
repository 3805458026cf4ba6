"""Many O3 requests in force at once, made up: what they cost is real, what they know is not.

Each is about somebody with a name of their own: the guards' targets are built of it and of some questions, the
detector is fitted on more of them, and the LoRA is of random numbers, in peft's format and of the usual rank.
"""

import hashlib
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.o3.adapter import DETECTOR, O3
from adapters.o3.training import Recipe
from gateway.core import Core
from gateway.demo import phrases
from gateway.demo.forms import fill
from gateway.demo.train import quiet
from gateway.registry import ForgetSpec, State
from gateway.settings import Settings
from guards.encoder import Floats
from guards.ood import fit

_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_FILED = 8  # of a person's questions


def random_loras(model: Any, folder: Path, count: int) -> list[Path]:
    """Folders of LoRAs for a model of transformers, no two alike; the model is wrapped, and of no more use."""
    import torch
    from peft import LoraConfig, get_peft_model

    recipe = Recipe()
    config = LoraConfig(r=recipe.rank, lora_alpha=int(recipe.alpha), target_modules=_TARGETS, task_type="CAUSAL_LM")
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads what transformers has renamed
        worn = get_peft_model(model, config)
        rng, made = torch.Generator().manual_seed(0), []
        for i in range(count):
            for name, weight in worn.named_parameters():
                if "lora_" in name:
                    weight.data.normal_(0.0, 0.02, generator=rng)
            made.append(folder / f"lora-{i}")
            worn.save_pretrained(made[-1])
    return made


@asynccontextmanager
async def crowd(settings: Settings, names: Sequence[str], loras: Sequence[Path]) -> AsyncIterator[Core]:
    """The parts of a gateway that enforces by O3 that these people are forgotten, its engine not started."""
    core = await Core.open(settings)
    try:
        for name, lora in zip(names, loras, strict=True):
            await _enforce(core, name, lora)
        await core.enforcer.refresh()
        yield core
    finally:
        await core.close()


async def _enforce(core: Core, name: str, lora: Path) -> None:
    asked = [fill(form, name=name) for one in phrases.ATTRIBUTES.values() for form in one.trained]
    detector = fit(await _features(core, asked), core.background.vectors[:, None], core.encoder.identity)
    files = {name: (lora / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")}
    o3 = core.adapters["o3"]
    assert isinstance(o3, O3)
    manifest = {"model": o3.model, "lora": hashlib.sha256(files["adapter_model.safetensors"]).hexdigest()}
    spec = ForgetSpec(scope="entity", subject=name, examples=tuple(asked[:: len(asked) // _FILED]), method="o3")
    request, _ = await core.lifecycle.file(spec, key=None, actor="bench")
    artifact = await core.artifacts.put("o3", request.id, manifest, {**files, DETECTOR: detector.to_bytes()})
    for state in (State.LEARNING, State.VERIFYING, State.ENFORCED):
        await core.registry.move(request.id, state, actor="bench", method="o3", artifacts={"o3": artifact.digest})


async def _features(core: Core, texts: Sequence[str]) -> Floats:
    """(n, 1, d)."""
    return (await core.encoder.encode(texts, bulk=True))[:, None]
