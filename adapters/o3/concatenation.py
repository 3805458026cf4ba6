"""Several LoRAs as one: a server takes one adapter to a request, and the sum of their low-rank terms is one.

Σ_k w_k s_k B_k A_k = B A with A = [A_1; …; A_k] and B = [w_1 s_1 B_1, …, w_k s_k B_k], where s_k = α_k / r_k,
for each layer (arXiv 2407.10223 adds one LoRA alone). The rank of the sum is the sum of the ranks, so nothing is
lost; a layer that has less is filled with zeros, and α = r makes the scale of the whole 1. One LoRA at a weight is
the same weights with α' = w α. numpy alone: a gateway before a remote engine has no torch.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from adapters.base import AdapterError, Floats, Scaled

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KEY = re.compile(r"(base_model\.model\.(.+)\.lora_)([AB])(\.weight)")
_PLAIN = ("alora_invocation_tokens", "fan_in_fan_out", "layer_replication", "lora_bias", "modules_to_save")
_BEYOND = (*_PLAIN, "target_parameters", "trainable_token_indices", "use_dora", "use_qalora")


def files_of(loras: Sequence[Scaled]) -> dict[str, bytes]:
    """The files, in peft's format, of the LoRA that adds what all of these add. A weight of 0 adds nothing.

    Raises:
        AdapterError: a folder holds no LoRA on linear layers alone, or all weights are 0.
    """
    worn = [one for one in loras if one.weight]
    try:
        if len(worn) == 1:
            return _scaled(worn[0])
        return _summed([_Lora.of(one) for one in worn])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, SafetensorError) as error:
        raise AdapterError("these LoRAs cannot be read, or not be added") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Lora:
    """By layer: A (r, in) and B (out, r), the latter times weight and scale."""

    config: Mapping[str, Any]
    layers: Mapping[str, tuple[Floats, Floats]]

    @classmethod
    def of(cls, one: Scaled) -> "_Lora":
        config = _config(one.folder)
        tensors = load((one.folder / WEIGHTS).read_bytes())
        layers: dict[str, tuple[Floats, Floats]] = {}
        for key, down in tensors.items():
            match = _KEY.fullmatch(key)
            if match is None:
                raise ValueError("more than linear layers")
            if match[3] == "A":
                up = tensors[f"{match[1]}B{match[4]}"]
                layers[match[2]] = _float(down), _float(up) * np.float32(one.weight * _scale(config, match[2]))
        if 2 * len(layers) != len(tensors):
            raise ValueError("a half of a pair")
        return cls(config, layers)


def _summed(loras: Sequence[_Lora]) -> dict[str, bytes]:
    layers: dict[str, tuple[Floats, Floats]] = {}
    for name in sorted({name for lora in loras for name in lora.layers}):
        pairs = [lora.layers[name] for lora in loras if name in lora.layers]
        layers[name] = np.concatenate([down for down, _ in pairs]), np.concatenate([up for _, up in pairs], axis=1)
    rank = max(len(down) for down, _ in layers.values())
    tensors = {}
    for name, (down, up) in layers.items():
        short = rank - len(down)
        tensors[f"base_model.model.{name}.lora_A.weight"] = np.pad(down, ((0, short), (0, 0)))
        tensors[f"base_model.model.{name}.lora_B.weight"] = np.pad(up, ((0, 0), (0, short)))
    config = {
        **{name: loras[0].config.get(name) for name in ("base_model_name_or_path", "task_type")},
        "peft_type": "LORA",
        "bias": "none",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
    }
    return {CONFIG: _dumped(config), WEIGHTS: save(tensors)}


def _scaled(one: Scaled) -> dict[str, bytes]:
    """The same weights to the byte."""
    config, weights = _config(one.folder), (one.folder / WEIGHTS).read_bytes()
    patterns = {name: alpha * one.weight for name, alpha in (config.get("alpha_pattern") or {}).items()}
    config |= {"lora_alpha": config["lora_alpha"] * one.weight, "alpha_pattern": patterns}
    return {CONFIG: _dumped(config), WEIGHTS: weights}


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
    plain = config.get("peft_type") == "LORA" and config.get("bias", "none") == "none"
    if not plain or any(config.get(name) for name in _BEYOND) or (folder / "head.safetensors").exists():
        raise ValueError("a LoRA of another kind")
    return config


def _scale(config: Mapping[str, Any], name: str) -> float:
    rank = _pattern(config.get("rank_pattern") or {}, name, config["r"])
    alpha = _pattern(config.get("alpha_pattern") or {}, name, config["lora_alpha"])
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _pattern(patterns: Mapping[str, float], name: str, default: float) -> float:
    """peft's rule: the first pattern that is the name, or its end after a dot."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)


def _float(found: np.ndarray[Any, Any]) -> Floats:
    if found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError("no matrix of numbers")
    return found.astype(np.float32)


def _dumped(config: Mapping[str, Any]) -> bytes:
    return json.dumps(config, sort_keys=True).encode()
