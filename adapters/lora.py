"""LoRA adapters in peft's format, added per row of a batch: y = Wx + w · (α/r) · BAx (arXiv 2106.09685).

peft itself would wrap the model and give one adapter to a whole batch; here a forward hook on each
adapted linear layer adds the low-rank term to the rows that asked for it, so that the others are
computed exactly as without. The adapters of a batch are stacked, A on A and B beside B, and each row
takes its own part of the product: two small multiplications, however many they are (at the price of
the parts that are not taken). Only what a linear layer can honour is loaded: no DoRA, no biases, no
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
from typing import Any, Self

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


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """Several adapters as one. By layer: all Aᵀ (in, R), all Bᵀ (R, out), and how much of R is whose."""

    loras: tuple[Lora, ...]
    layers: Mapping[str, tuple[Tensor, Tensor, tuple[int, ...]]]

    @classmethod
    def of(cls, loras: tuple[Lora, ...]) -> Self:
        layers = {}
        for name in dict.fromkeys(name for lora in loras for name in lora.layers):
            pairs = [lora.layers.get(name) for lora in loras]
            downs, ups = zip(*filter(None, pairs), strict=True)
            ranks = tuple(len(pair[0]) if pair else 0 for pair in pairs)
            down, up = (downs[0], ups[0]) if len(downs) == 1 else (torch.cat(downs), torch.cat(ups, 1))
            layers[name] = (down.T, up.T, ranks)
        return cls(loras, layers)


class _Worn:
    """Who wears which adapter of a stack: `rows` (k), all where None, at `weights` (k, adapters), all 1 where None."""

    def __init__(self, stack: _Stack, rows: Tensor | None, weights: Tensor | None) -> None:
        self._stack = stack
        self._rows = rows
        self._weights = weights
        self._scales: dict[tuple[int, ...], Tensor] = {}

    def add(self, name: str, given: Tensor, output: Tensor) -> None:
        """To the output (B, T, out) of a layer what its adapters make of the input (B, T, in)."""
        found = self._stack.layers.get(name)
        if found is None:
            return
        down, up, ranks = found
        low = (given if self._rows is None else given[self._rows]) @ down  # (k, T, R)
        if self._weights is not None:
            low *= self._scale(self._weights.to(low.dtype), ranks)
        if self._rows is None:
            output.view(-1, output.shape[-1]).addmm_(low.view(-1, low.shape[-1]), up)
        else:
            output[self._rows] += low @ up

    def _scale(self, weights: Tensor, ranks: tuple[int, ...]) -> Tensor:
        if ranks not in self._scales:
            times = torch.tensor(ranks, device=weights.device)
            self._scales[ranks] = weights.repeat_interleave(times, 1, output_size=sum(ranks))[:, None]  # (k, 1, R)
        return self._scales[ranks]


class Loras:
    """The adapters of one model, and which of them the rows of the current forward pass wear."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._known: OrderedDict[Path, Lora] = OrderedDict()
        self._lock = threading.Lock()
        self._hooked: set[str] = set()
        self._stack = _Stack((), {})  # the last
        self._worn: _Worn | None = None

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
        wearing = [(i, *worn) for i, worn in enumerate(rows) if worn is not None and worn[1] != 0]
        if wearing:
            self._worn = self._dressed(wearing, len(rows), device)
        try:
            yield
        finally:
            self._worn = None

    def _dressed(self, wearing: Sequence[tuple[int, Lora, float]], among: int, device: torch.device) -> _Worn:
        loras = {lora for _, lora, _ in wearing}
        if loras != set(self._stack.loras):
            self._stack = _Stack.of(tuple(loras))
            for name in self._stack.layers.keys() - self._hooked:
                self._model.get_submodule(name).register_forward_hook(self._hook(name))
                self._hooked.add(name)
        rows = None if len(wearing) == among else torch.tensor([i for i, _, _ in wearing], device=device)
        if len(loras) == 1 and all(weight == 1 for _, _, weight in wearing):
            return _Worn(self._stack, rows, None)
        weights = [[weight if lora is one else 0.0 for one in self._stack.loras] for _, lora, weight in wearing]
        return _Worn(self._stack, rows, torch.tensor(weights, device=device))

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if self._worn is not None:
                self._worn.add(name, args[0], output)

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
