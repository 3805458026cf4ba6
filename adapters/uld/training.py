"""Trains an assistant: LoRA on the first blocks of the model, to know the forget rows and nothing else.

Before this module: `rows`. After it: the files of an artifact, which `companion` wears. With a the assistant's
logits and q = softmax(a), over the predictions that count (see `rows`):

    L = mean_forget [ −ln q(token) ] + λ · mean_flat [ KL(U‖q) ],   KL(U‖q) = lse(a) − ln V − mean_v a_v

after arXiv 2406.08607; flat are retain and wrong rows. Embedding, norm, head and the blocks themselves are
frozen. How it goes on is `adapters.course`'s. Departures. The head has a bias
(V) of the assistant's own: behind a final norm and a frozen head no state whatever need be flat (on the demo
model KL(U‖q) ≥ 0.52, and some token 2.2 nats above U); with the bias it falls to 0.001. It starts at zero and
learns ten times as fast. Of the epochs that know the held-out wordings the latest is kept: the end of the
schedule is the flattest. A tenth of the flat rows is not trained on: max_v a'_v there tells how high an assistant
rises that knows nothing. Every epoch learns ends of the forget rows behind other beginnings, each time others, and half
of the flat rows so instead of as they are: an epoch costs little more, and no beginning is learnt by heart.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adapters.base import AdapterError
from adapters.course import Course, Epoch, Loss, device, digest_of
from adapters.lora import HEAD
from adapters.rows import Row, begun_otherwise
from adapters.uld import assistant

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
_HELD_BACK = 10  # one flat row in so many is not trained on
_BIAS = "head.bias"
_BIAS_RATE = 10.0  # times the rate of the rest


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `weight` is λ, `alpha` the LoRA's; `patience` in epochs, 0 for all of them.

    `otherwise`: how often an epoch learns an end of a forget row behind another beginning, beside the row itself;
    `ends`: the share of flat rows of which it learns such an end in their stead.
    """

    blocks: int
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    epochs: int = 15
    batch: int = 32
    rate: float = 3e-3
    weight: float = 5.0
    otherwise: int = 2
    ends: float = 0.5
    seed: int = 0
    patience: int = 3


@dataclass(frozen=True, slots=True)
class Trained:
    """An assistant: peft's `files` by name, the `epochs` on the way, the number of the one that was `kept`.

    Among the files is the head's bias, see `adapters.lora`. `quantiles` are those of max_v a'_v, in nats, at the
    predictions that count of flat rows held back from training, by their share; `seconds` count this call alone.
    """

    files: Mapping[str, bytes]
    epochs: tuple[Epoch, ...]
    kept: int
    quantiles: Mapping[float, float]
    seconds: float


def train(
    folder: Path,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    recipe: Recipe,
    *,
    resume: bytes | None = None,
    checkpoint: Callable[[bytes], None] = lambda state: None,
    progress: Callable[[Epoch], None] = lambda epoch: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained | None:
    """The assistant of the model in `folder`, None where it was stopped. Blocks; uses a GPU where there is one.

    Args:
        held_out: forget rows in other words, that decide when to end; none: all epochs, the last is kept.
        resume: what `checkpoint` was last called with; that of another training is ignored.
        checkpoint: called after every epoch with all that is needed to go on from there.
        stop: asked between batches.

    Raises:
        AdapterError: there is nothing to learn, or nothing to be flat on.
    """
    began = monotonic()
    flat = [row for row in rows if row.kind != "forget"]
    learnt = [row for row in rows if row.kind == "forget"]
    if not learnt or len(flat) < 2:
        raise AdapterError("an assistant needs something to learn, and at least two rows to be flat on")
    random.Random(recipe.seed).shuffle(flat)
    back = -(-len(flat) // _HELD_BACK)
    course = _Course(folder, recipe, digest_of(rows, held_out, recipe))
    ended = course.run(
        (learnt, flat[back:]), held_out, resume=resume, checkpoint=checkpoint, progress=progress, stop=stop
    )
    return course.trained(flat[:back], began) if ended else None


class _Course(Course):
    """A training under way."""

    coarse = True

    def __init__(self, folder: Path, recipe: Recipe, digest: str) -> None:
        self._recipe, on = recipe, device()
        dtype = torch.bfloat16 if on.type == "cuda" else torch.float32
        model = assistant.load(folder, recipe.blocks, on, dtype)
        self._bias = torch.zeros(model.config.vocab_size, device=on, requires_grad=True)
        super().__init__(model, recipe, digest)

    def trained(self, held_back: Sequence[Row], began: float) -> Trained:
        """The assistant of the epoch that is kept."""
        from safetensors.torch import save

        tops = torch.cat([a.log_softmax(-1).amax(-1) for a, _ in self._predictions(held_back)])
        heights = tops + math.log(len(self._bias))
        levels = torch.quantile(heights.double().cpu(), torch.tensor(QUANTILES, dtype=torch.float64)).tolist()
        files = self.files() | {HEAD: save({"bias": self._bias.detach().cpu()})}
        quantiles = dict(zip(QUANTILES, levels, strict=True))
        return Trained(files, tuple(self._epochs), self._kept, quantiles, monotonic() - began)

    def _groups(self) -> list[dict[str, Any]]:
        adapted = super()._groups()
        self._weights[_BIAS] = self._bias
        return [*adapted, {"params": [self._bias], "times": _BIAS_RATE}]

    def _varied(self, sorts: Sequence[Sequence[Row]], rng: random.Random) -> Sequence[Sequence[Row]]:
        learnt, flat = sorts
        tokens = [token for row in (*learnt, *flat) for token in row.answer[:-1]]  # but for the end of the turn

        def end(row: Row) -> Row | None:
            return begun_otherwise(row, tokens, rng)

        ends = [found for row in learnt for _ in range(self._recipe.otherwise) if (found := end(row))]
        return [*learnt, *ends], [(end(row) or row) if rng.random() < self._recipe.ends else row for row in flat]

    def _read(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        logits, tokens, learnt = super()._read(rows)
        return logits + self._bias, tokens, learnt

    def _loss(self, batch: Sequence[Row]) -> Loss:
        logits, tokens, learnt = self._read(batch)
        forget = F.cross_entropy(logits[learnt], tokens[learnt], reduction="sum") / learnt.sum().clamp(min=1)
        a = logits[~learnt]  # (n, V)
        uniform = (a.logsumexp(-1) - math.log(a.shape[-1]) - a.mean(-1)).sum() / max(1, len(a))
        return Loss(forget + self._recipe.weight * uniform, forget.item(), uniform.item())
