"""Runs a causal language model over rows of different lengths: prompts in, then one token a step.

Rows are padded on the left, so that all end in the same column; a mask hides the padding and each
row counts its own positions. A cache can gain and lose rows between steps (continuous batching, as
in Orca, OSDI 2022). Departures: the cache is transformers' own and grows by concatenation, without
pages; sliding-window layers keep the whole past and rely on the mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from adapters.lora import Lora, Loras, biased


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one row reads before it writes: `token_ids` (T), the first t as `embeds` (t, d), wearing `lora`."""

    token_ids: tuple[int, ...] = field(repr=False)
    embeds: Tensor | None = field(default=None, repr=False)
    lora: tuple[Lora, float] | None = None


@dataclass(slots=True, eq=False)
class Cache:
    """The past of some rows: keys and values (B, heads, width, d), the first `pads[i]` columns of row i void."""

    past: Any  # transformers.DynamicCache
    pads: list[int]
    loras: list[tuple[Lora, float] | None]

    @property
    def width(self) -> int:
        return int(self.past.get_seq_length())

    def keep(self, rows: Sequence[int]) -> None:
        """These rows in this order, a row as often as it is named; columns that are void for all go."""
        void = min(self.pads[row] for row in rows)
        for layer in self.past.layers:
            index = torch.tensor(rows, device=layer.keys.device)
            layer.keys, layer.values = layer.keys[index, :, void:], layer.values[index, :, void:]
        self.pads = [self.pads[row] - void for row in rows]
        self.loras = [self.loras[row] for row in rows]

    def join(self, other: "Cache") -> None:
        """Appends the rows of another cache."""
        wide = max(self.width, other.width)
        mine, theirs = wide - self.width, wide - other.width
        for ours, new in zip(self.past.layers, other.past.layers, strict=True):
            ours.keys = torch.cat([pad(ours.keys, (0, 0, mine, 0)), pad(new.keys, (0, 0, theirs, 0))])
            ours.values = torch.cat([pad(ours.values, (0, 0, mine, 0)), pad(new.values, (0, 0, theirs, 0))])
        self.pads = [n + mine for n in self.pads] + [n + theirs for n in other.pads]
        self.loras += other.loras


class Decoder:
    """A transformers causal LM, with adapters. Belongs to one thread; logits come in float32."""

    def __init__(self, model: Any) -> None:
        self._model = model.eval()
        self.loras = Loras(model)
        self.width = int(model.get_input_embeddings().weight.shape[1])
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])

    def read(self, readings: Sequence[Reading], keep: int = 1) -> tuple[Cache, Tensor]:
        """Reads prompts together. The cache, and the logits (B, keep, V) at the last positions of each."""
        from transformers import DynamicCache

        lengths = [len(reading.token_ids) for reading in readings]
        wide = max(lengths)
        # No config: every layer keeps the whole past, so that rows can be moved between caches.
        cache = Cache(DynamicCache(), [wide - n for n in lengths], [reading.lora for reading in readings])
        padded = [[0] * (wide - len(reading.token_ids)) + list(reading.token_ids) for reading in readings]
        tokens = torch.tensor(padded, device=self._model.device)
        if all(reading.embeds is None for reading in readings):
            return cache, self._forward(cache, keep, input_ids=tokens)
        embeds = self._model.get_input_embeddings()(tokens)  # (B, T, d)
        for row, reading in enumerate(readings):
            if reading.embeds is not None:
                first = cache.pads[row]
                embeds[row, first : first + len(reading.embeds)] = reading.embeds.to(embeds)
        return cache, self._forward(cache, keep, inputs_embeds=embeds)

    def step(self, cache: Cache, tokens: Sequence[int]) -> Tensor:
        """Reads one more token in every row. The logits (B, V) after it."""
        column = torch.tensor(tokens, device=self._model.device)[:, None]
        return self._forward(cache, 1, input_ids=column)[:, 0]

    def _forward(self, cache: Cache, keep: int, **inputs: Tensor) -> Tensor:
        (new,) = inputs.values()
        mask = positions = None  # each row begins in the first column, as a model takes it to
        if any(cache.pads):
            columns = torch.arange(cache.width + new.shape[1], device=new.device)
            pads = torch.tensor(cache.pads, device=new.device)[:, None]
            mask = (columns >= pads).long()
            positions = (columns[-new.shape[1] :] - pads).clamp(min=0)
        with self.loras.worn(cache.loras, new.device):
            out = self._model(
                **inputs,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache.past,
                use_cache=True,
                logits_to_keep=keep,
            )
        return biased(out.logits.float(), cache.loras)
