"""LoRA adapters in peft's format, added per row of a batch: y = Wx + w · (α/r) · BAx (arXiv 2106.09685).

peft itself would wrap the model and give one adapter to a whole batch; here a forward hook on each
adapted linear layer adds the low-rank term to the rows that asked for it, so that the others are
computed exactly as without. Rows are laid in lanes of one adapter each, so that two batched products
serve however many there are; several adapters on one row are one of their summed rank. Only what a
linear layer can honour is loaded: no DoRA, no biases, no trained embeddings; but for a bias of the
head, which has a file of its own as peft's format has no place for it. Artifacts are immutable, so an
adapter read once is kept.
"""

import json
import math
import re
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from adapters.base import EngineRejected, Scaled

ROOM = 2 << 30  # bytes of adapters in memory: over a hundred of rank 8 for a model of a billion parameters, in bfloat16
HEAD = "head.safetensors"  # beside peft's files: `bias` (V), where an adapter has one
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
    """One adapter: for each linear layer, by name, A (r, in) and B (out, r), the latter scaled by α/r.

    `bias` (V) float32 is added to the logits.
    """

    layers: Mapping[str, tuple[Tensor, Tensor]]
    bias: Tensor | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        tensors = [*chain.from_iterable(self.layers.values()), *([] if self.bias is None else [self.bias])]
        return sum(tensor.nbytes for tensor in tensors)


@dataclass(frozen=True, slots=True, eq=False)
class _Lanes:
    """Adapters side by side. By layer: Aᵀ (n, in, r) and Bᵀ (n, r, out), lower ranks filled with zeros; a single
    adapter as it is, (in, r) and (r, out)."""

    loras: tuple[Lora, ...]
    layers: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, loras: tuple[Lora, ...]) -> Self:
        layers = {}
        for name in dict.fromkeys(name for lora in loras for name in lora.layers):
            pairs = [lora.layers.get(name) for lora in loras]
            down, up = next(filter(None, pairs))
            if len(loras) == 1:
                layers[name] = (down.T, up.T)
                continue
            held = [pair or (down[:0], up[:, :0]) for pair in pairs]
            rank = max(len(one) for one, _ in held)
            downs = [pad(one.T, (0, rank - len(one))) for one, _ in held]
            ups = [pad(one.T, (0, 0, 0, rank - one.shape[1])) for _, one in held]
            layers[name] = (torch.stack(downs), torch.stack(ups))
        return cls(loras, layers)


@dataclass(frozen=True, slots=True, eq=False)
class _Worn:
    """Who wears what: the `rows` (n · m) in the n lanes, all in their order where None, and the `weights`
    (n · m, 1, 1), all 1 where None. Shorter lanes are filled with a row of theirs at weight 0."""

    lanes: _Lanes
    rows: Tensor | None
    weights: Tensor | None

    def add(self, name: str, given: Tensor, output: Tensor) -> None:
        """To the output (B, T, out) of a layer what its adapters make of the input (B, T, in)."""
        found = self.lanes.layers.get(name)
        if found is None:
            return
        down, up = found
        lanes, steps = down.shape[:-2], given.shape[1]
        read = given if self.rows is None else given[self.rows]
        low = read.view(*lanes, -1, read.shape[2]) @ down  # (n, m · T, r)
        if self.weights is not None:
            low.view(-1, steps, low.shape[-1]).mul_(self.weights)
        if self.rows is None:
            written = output.view(*lanes, -1, output.shape[2])
            (written.baddbmm_ if lanes else written.addmm_)(low, up)
        else:
            output.index_add_(0, self.rows, (low @ up).view(-1, steps, output.shape[2]))


class Loras:
    """The adapters of one model, and which of them the rows of the current forward pass wear."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        self._known: OrderedDict[Path | frozenset[Scaled], Lora] = OrderedDict()
        self._size = 0  # bytes of these
        self._lock = threading.RLock()
        self._hooked: set[str] = set()
        self._lanes = _Lanes((), {})  # the last
        self._worn: _Worn | None = None

    def load(self, folder: Path) -> Lora:
        """The adapter in a folder, from memory where it was read before. Safe to call from any thread.

        Raises:
            EngineRejected: the folder holds no adapter, or one that this model cannot wear.
        """
        return self._kept(folder, lambda: self._read(folder))

    def together(self, loras: Iterable[Scaled]) -> tuple[Lora, float] | None:
        """What a row wears that wears all of these, and its weight: nothing, one, or several made one.

        Raises:
            EngineRejected: as `load`.
        """
        worn = sorted((one for one in loras if one.weight), key=lambda one: one.folder)
        if len(worn) < 2:
            return (self.load(worn[0].folder), worn[0].weight) if worn else None
        return self._kept(
            frozenset(worn), lambda: concatenated([(self.load(one.folder), one.weight) for one in worn])
        ), 1.0

    def _kept(self, key: Path | frozenset[Scaled], make: Callable[[], Lora]) -> Lora:
        with self._lock:
            lora = self._known.get(key)
            if lora is None:
                lora = self._known[key] = make()
                self._size += lora.size
            self._known.move_to_end(key)
            while self._size > ROOM and len(self._known) > 1:
                self._size -= self._known.popitem(last=False)[1].size
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
        """A lane for every adapter; for every row where they are few, which copies adapters but moves no rows."""
        groups: dict[Lora, list[tuple[int, Lora, float]]] = defaultdict(list)
        for i, lora, weight in wearing:
            groups[lora].append((i, lora, weight))
        lanes = list(groups.values())
        if len(lanes) > 1 and len(wearing) <= 2 * len(lanes):
            lanes = [[each] for each in wearing]
        longest = max(map(len, lanes))
        filled = [lane + [(*lane[0][:2], 0.0)] * (longest - len(lane)) for lane in lanes]
        self._lay(tuple(lora for ((_, lora, _), *_) in filled))
        rows = [i for lane in filled for i, _, _ in lane]
        weights = [weight for lane in filled for _, _, weight in lane]
        return _Worn(
            self._lanes,
            None if rows == list(range(among)) else torch.tensor(rows, device=device),
            None if set(weights) == {1} else torch.tensor(weights, device=device)[:, None, None],
        )

    def _lay(self, loras: tuple[Lora, ...]) -> None:
        if loras != self._lanes.loras:
            self._lanes = _Lanes.of(loras)
            for name in self._lanes.layers.keys() - self._hooked:
                self._linear[name].register_forward_hook(self._hook(name))
                self._hooked.add(name)

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
            bias = load_file(folder / HEAD)["bias"].float() if (folder / HEAD).exists() else None
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
        layers = {name: self._layer(name, pair, config, folder) for name, pair in parts.items()}
        return Lora(layers, None if bias is None else self._head(bias, folder))

    def _head(self, bias: Tensor, folder: Path) -> Tensor:
        weight = self._model.get_output_embeddings().weight  # type: ignore[operator]
        if bias.shape != weight.shape[:1] or not bias.isfinite().all():
            raise EngineRejected(f"the LoRA in {folder.name} does not fit this model")
        return bias.to(weight.device)

    def _layer(
        self, name: str, pair: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path
    ) -> tuple[Tensor, Tensor]:
        layer = self._linear.get(name)
        if (
            layer is None
            or pair.keys() != {"A", "B"}
            or pair["A"].shape[1] != layer.in_features
            or pair["B"].shape != (layer.out_features, pair["A"].shape[0])
            or not all(part.isfinite().all() for part in pair.values())
        ):
            raise EngineRejected(f"the LoRA in {folder.name} does not fit this model")
        rank = pair["A"].shape[0]
        alpha = _pattern(config.get("alpha_pattern") or {}, name, config["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        return pair["A"].to(layer.weight), (pair["B"] * scale).to(layer.weight)


def concatenated(parts: Sequence[tuple[Lora, float]]) -> Lora:
    """One adapter that adds what all of these add at their weights: A = [A₁; …; A_k], B = [w₁B₁, …, w_k B_k]."""
    layers = {}
    for name in dict.fromkeys(name for lora, _ in parts for name in lora.layers):
        held = [(*lora.layers[name], weight) for lora, weight in parts if name in lora.layers]
        downs, ups = [down for down, _, _ in held], [weight * up for _, up, weight in held]
        layers[name] = (torch.cat(downs), torch.cat(ups, dim=1))
    biases = [weight * lora.bias for lora, weight in parts if lora.bias is not None]
    return Lora(layers, torch.stack(biases).sum(0) if biases else None)


def biased(logits: Tensor, rows: Sequence[tuple[Lora, float] | None]) -> Tensor:
    """Adds to row i of the logits (B, T, V), in place, the head's bias of adapter i, at its weight."""
    for row, worn in zip(logits, rows, strict=True):
        if worn is not None and worn[0].bias is not None:
            row.add_(worn[0].bias, alpha=worn[1])
    return logits


def _pattern(patterns: Mapping[str, float], name: str, default: float) -> float:
    """peft's rule: the first pattern that is the name, or its end after a dot."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)
