"""LoRA adapters in peft's format, added per row of a batch: y = Wx + w · (α/r) · BAx (arXiv 2106.09685).

peft itself would wrap the model and give one adapter to a whole batch; here a forward hook on each
adapted linear layer adds the low-rank term to the rows that asked for it, so that the others are
computed exactly as without. Only what a linear layer can honour is loaded: no DoRA, no biases, no
trained embeddings. Artifacts are immutable, so an adapter read once is kept.
"""

import json
import math
import re
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapters.base import EngineRejected

KEPT = 64  # adapters in memory
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_BEYOND = (
    "alora_invocation_tokens",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "use_dora",
    "use_qalora",
)


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """One adapter: for each linear layer, by name, A (r, in) and B (out, r), the latter scaled by α/r."""

    layers: Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class _Group:
    lora: Lora
    rows: Tensor  # (k)
    weights: Tensor  # (k, 1, 1)


class Loras:
    """The adapters of one model, and which of them the rows of the current forward pass wear."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._known: OrderedDict[Path, Lora] = OrderedDict()
        self._lock = threading.Lock()
        self._hooked: set[str] = set()
        self._groups: tuple[_Group, ...] = ()

    def load(self, folder: Path) -> Lora:
        """The adapter in a folder, from memory where it was read before. Safe to call from any thread.

        Raises:
            EngineRejected: the folder holds no adapter, or one that this model cannot wear.
        """
        with self._lock:
            lora = self._known.get(folder) or self._read(folder)
            self._known[folder] = lora
            self._known.move_to_end(folder)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
            return lora

    @contextmanager
    def worn(self, rows: Sequence[tuple[Lora, float] | None], device: torch.device) -> Iterator[None]:
        """Within it, row i of every forward pass wears adapter i at its weight; weight 0 is no adapter."""
        groups: dict[Lora, list[tuple[int, float]]] = defaultdict(list)
        for i, worn in enumerate(rows):
            if worn is not None and worn[1] != 0:
                groups[worn[0]].append((i, worn[1]))
        self._groups = tuple(
            _Group(
                lora,
                torch.tensor([i for i, _ in members], device=device),
                torch.tensor([weight for _, weight in members], device=device)[:, None, None],
            )
            for lora, members in groups.items()
        )
        for name in {name for lora in groups for name in lora.layers} - self._hooked:
            self._model.get_submodule(name).register_forward_hook(self._hook(name))
            self._hooked.add(name)
        try:
            yield
        finally:
            self._groups = ()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            for group in self._groups:
                if name in group.lora.layers:
                    down, up = group.lora.layers[name]
                    extra = args[0][group.rows] @ down.T @ up.T  # (k, T, out)
                    output[group.rows] += (group.weights * extra).to(output.dtype)

        return add

    def _read(self, folder: Path) -> Lora:
        from safetensors.torch import load_file

        try:
            config = json.loads((folder / "adapter_config.json").read_text())
            weights = load_file(folder / "adapter_model.safetensors")
        except Exception as error:  # whatever is wrong with the files
            raise EngineRejected(f"no LoRA can be read from {folder.name}") from error
        beyond = [name for name in _BEYOND if config.get(name)]
        if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or beyond:
            raise EngineRejected(f"the LoRA in {folder.name} is of an unsupported kind")
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, weight in weights.items():
            match = _KEY.fullmatch(key)
            if match is None:
                raise EngineRejected(f"the LoRA in {folder.name} holds more than linear layers")
            parts[match[1]][match[2]] = weight
        return Lora({name: self._layer(name, pair, config, folder) for name, pair in parts.items()})

    def _layer(self, name: str, pair: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> Any:
        layer = dict(self._model.named_modules()).get(name)
        fits = (
            isinstance(layer, nn.Linear)
            and pair.keys() == {"A", "B"}
            and pair["A"].shape[1] == layer.in_features
            and pair["B"].shape == (layer.out_features, pair["A"].shape[0])
        )
        if not fits or not all(part.isfinite().all() for part in pair.values()):
            raise EngineRejected(f"the LoRA in {folder.name} does not fit this model")
        assert isinstance(layer, nn.Linear)
        rank = pair["A"].shape[0]
        alpha = _pattern(config.get("alpha_pattern") or {}, name, config["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        return pair["A"].to(layer.weight), (pair["B"] * scale).to(layer.weight)


def _pattern(patterns: Mapping[str, float], name: str, default: float) -> float:
    """peft's rule: the first pattern that is the name, or its end after a dot."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)
