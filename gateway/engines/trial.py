"""A LoRA tried on a server before any is served there: rows that wear it must be changed, and no others.

A random one is laid and loaded, and one prompt is asked with and without it, both at once, several times over. Rows
without must be told what they are told alone, rows with it another thing, and all of these the same; at the end
the name must be gone. Without LoRAs at all (a server of another kind, another folder) it is seen here too.

On floats of fewer bits, or in other batches on a GPU, the same row differs a little from itself: what counts as
the same is a tenth of what the LoRA changes.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors.numpy import save

from adapters.base import EngineError
from adapters.o3.concatenation import CONFIG, WEIGHTS
from gateway.engines.loras import Loras, Room, names, unload
from gateway.engines.replica import Replica
from gateway.engines.steering import Shelf

_RANK = 1
_TOKENS = 8
_ROWS, _ROUNDS = 4, 3  # of each kind at once
_MOST = 1.0  # nats of the LoRA's own effect that count
_SAME = 0.1  # of that
_HEARD = 0.05  # nats that it must change
_SALT = "lethe"

Told = list[tuple[str, dict[str, float]]]  # tokens, each with its log-probability among the likeliest


class Trial:
    """Tries LoRAs for the model whose files lie in `folder` on replicas that serve it as `model`."""

    def __init__(self, model: str, folder: Path, shelf: Shelf, loras: Loras) -> None:
        self._model, self._shelf, self._loras = model, shelf, loras
        self._files = _random(folder)

    async def passed(self, replica: Replica, token_ids: Sequence[int]) -> bool:
        """Whether LoRAs can be served there. The last thing that is found out of a replica: it starts with none."""
        status, metrics = await replica.get("/metrics")
        room = Room.of(metrics if status == 200 else b"")
        self._loras.examined(replica, room)
        if not self._files:
            return False
        with self._shelf.laid(self._files) as folder:
            try:
                name = await self._loras.load(replica, folder)
                try:
                    held = await self._keeps_apart(replica, name, token_ids)
                finally:
                    self._loras.forget(replica, folder)
                    if room.apart:
                        await unload(replica, name)
                return held and (not room.apart or name not in await names(replica))
            except EngineError:  # no such route, no place, another folder: whoever wears none is served all the same
                return False

    async def _keeps_apart(self, replica: Replica, name: str, token_ids: Sequence[int]) -> bool:
        bare = await self._told(replica, self._model, token_ids)
        worn = await self._told(replica, name, token_ids)
        effect = min(_MOST, _apart(bare, worn))
        if not bare or not worn or effect < _HEARD:
            return False
        for _ in range(_ROUNDS):
            asked = [self._model, name] * _ROWS
            found = await asyncio.gather(*(self._told(replica, model, token_ids) for model in asked))
            wanted = [bare, worn] * _ROWS
            if any(_apart(*pair) > _SAME * effect for pair in zip(found, wanted, strict=True)):
                return False
        return True

    async def _told(self, replica: Replica, model: str, token_ids: Sequence[int]) -> Told:
        """A short greedy answer; nothing where the server refuses, or gives no log-probabilities."""
        asked: dict[str, Any] = {"model": model, "prompt": list(token_ids), "max_tokens": _TOKENS, "temperature": 0}
        body = orjson.dumps({**asked, "logprobs": 4, "ignore_eos": True, "cache_salt": _SALT})
        status, told = await replica.post("completions", body)
        known = orjson.loads(told)["choices"][0].get("logprobs") if status == 200 else None
        return list(zip(known["tokens"], known["top_logprobs"], strict=True)) if known else []


def _apart(one: Told, other: Told) -> float:
    """By how many nats two answers differ at most, up to the first token that is another; and by how many that one
    was worse: of two that are as good as equal, either may be said."""
    most = 0.0 if one and other else math.inf
    for (said, known), (heard, found) in zip(one, other, strict=False):
        most = max(most, abs(known[said] - found[heard]), known[said] - known.get(heard, -math.inf))
        if said != heard:
            break
    return most


def _random(folder: Path) -> dict[str, bytes]:
    """The files of a LoRA on what attention writes in every layer; none where the model is of another build.

    The same for every gateway: where no slot is ever freed, all of them together take one.
    """
    config = json.loads((folder / "config.json").read_bytes())
    config |= config.get("text_config") or {}
    try:
        width, heads, layers = (int(config[n]) for n in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    except (KeyError, TypeError):
        return {}
    inner = heads * int(config.get("head_dim") or width // heads)
    rng = np.random.default_rng(0)
    tensors = {}
    for layer in range(layers):
        key = f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora_"
        tensors[f"{key}A.weight"] = rng.standard_normal((_RANK, inner)).astype(np.float32)
        tensors[f"{key}B.weight"] = rng.standard_normal((width, _RANK)).astype(np.float32)
    told = {"peft_type": "LORA", "bias": "none", "r": _RANK, "lora_alpha": _RANK, "target_modules": ["o_proj"]}
    return {CONFIG: json.dumps(told).encode(), WEIGHTS: save(tensors)}
