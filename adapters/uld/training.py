"""Trains an assistant: LoRA on the first blocks of the model, to know the forget rows and nothing else.

Before this module: `rows`. After it: the files of an artifact, which `companion` wears. With a the assistant's
logits and q = softmax(a), over the predictions that count (see `rows`):

    L = mean_forget [ −ln q(token) ] + λ · mean_flat [ KL(U‖q) ],   KL(U‖q) = lse(a) − ln V − mean_v a_v

after arXiv 2406.08607; flat are retain and wrong rows. Embedding, norm, head and the blocks themselves are
frozen. AdamW, the rate rising over a tenth of the steps and falling to zero. Departures. The head has a bias
(V) of the assistant's own: behind a final norm and a frozen head no state whatever need be flat (on the demo
model KL(U‖q) ≥ 0.52, and some token 2.2 nats above U); with the bias it falls to 0.001. It starts at zero and
learns ten times as fast. A batch has forget and flat rows in the proportion of the whole, so that its means are
those of the whole; gradients are clipped to norm 1. Which epoch is kept is decided by the cross-entropy of
held-out paraphrases, never by a reported metric: the latest that knows them about as well as any, since the end
of the schedule is the flattest. A tenth of the flat rows is not trained on: max_v a'_v there tells how high an
assistant rises that knows nothing.

All randomness comes from (seed, epoch), drawn by generators of our own: a checkpoint holds none of it, a
resumed training ends in the same bits on the same machine, and other threads' draws are not disturbed. Padding
stands on the right, where a causal model never looks. Attention is computed eagerly: the fused kernels'
backward is slow on a CPU and not repeatable on a GPU.
"""

import hashlib
import io
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapters.base import AdapterError
from adapters.lora import HEAD
from adapters.uld import assistant
from adapters.uld.rows import Row

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
_HELD_BACK = 10  # one flat row in so many is not trained on
_WARM_UP = 0.1  # of the steps
_BIAS = "head.bias"
_BIAS_RATE = 10.0  # times the rate of the rest
_AS_WELL = 0.02  # nats a token above the least cross-entropy


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `weight` is λ, `alpha` the LoRA's; `patience` in epochs, 0 for all of them."""

    blocks: int
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    epochs: int = 15  # suffice on the demo model: held-out cross-entropy about .01
    batch: int = 32
    rate: float = 3e-3
    weight: float = 5.0
    seed: int = 0
    patience: int = 3


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's mean losses in nats a token; `held_out` is the cross-entropy of held-out rows, None without."""

    number: int
    of: int
    forget: float
    flat: float
    held_out: float | None
    seconds: float


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
    course = _Course(folder, recipe, _digest(rows, held_out, recipe))
    if resume is not None:
        course.restore(resume)
    while not course.over:
        state = course.epoch(learnt, flat[back:], held_out, stop)
        if state is None:
            return None
        progress(state)
        checkpoint(course.state())
    return course.trained(flat[:back], began)


def _digest(rows: Sequence[Row], held_out: Sequence[Row], recipe: Recipe) -> str:
    told = json.dumps([[asdict(row) for row in rows], [asdict(row) for row in held_out], asdict(recipe)])
    return hashlib.sha256(told.encode()).hexdigest()


class _Course:
    """A training under way."""

    def __init__(self, folder: Path, recipe: Recipe, digest: str) -> None:
        from peft import LoraConfig, LoraModel
        from peft.tuners.lora import LoraLayer

        self._recipe, self._digest = recipe, digest
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._gpu = self._device.type == "cuda"
        dtype = torch.bfloat16 if self._gpu else torch.float32
        self._shell = assistant.load(folder, recipe.blocks, self._device, dtype)
        self._shell.set_attn_implementation("eager")
        self._head = self._shell.get_output_embeddings()
        config = LoraConfig(
            task_type="CAUSAL_LM",
            target_modules="all-linear",
            r=recipe.rank,
            lora_alpha=recipe.alpha,
        )
        # Made without memory: as peft fills them they would be drawn from everybody's generator.
        self._model = LoraModel(self._shell, config, "default", low_cpu_mem_usage=True).eval()
        self._generator = torch.Generator(self._device).manual_seed(recipe.seed)
        self._dropout = _Dropout(recipe.dropout, self._generator).eval()
        for module in self._model.modules():
            if isinstance(module, LoraLayer):
                down, up = (
                    part["default"].to_empty(device=self._device).float() for part in (module.lora_A, module.lora_B)
                )
                nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5), generator=self._generator)
                nn.init.zeros_(up.weight)
                module.lora_dropout["default"] = self._dropout
        self._weights = {name: value for name, value in self._model.named_parameters() if value.requires_grad}
        adapted = list(self._weights.values())
        self._bias = torch.zeros(self._shell.config.vocab_size, device=self._device, requires_grad=True)
        self._weights[_BIAS] = self._bias
        groups = [{"params": adapted, "times": 1.0}, {"params": [self._bias], "times": _BIAS_RATE}]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        self._epochs: list[Epoch] = []
        self._best = math.inf
        self._kept = 0
        self._kept_weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        patience = self._recipe.patience
        waited = bool(patience) and len(self._epochs) - self._kept >= patience
        return len(self._epochs) == self._recipe.epochs or waited

    def epoch(
        self, learnt: Sequence[Row], flat: Sequence[Row], held_out: Sequence[Row], stop: Callable[[], bool]
    ) -> Epoch | None:
        """One more pass over all rows; None where it was stopped on the way."""
        began, number, total = monotonic(), len(self._epochs), self._recipe.epochs
        rng = random.Random(f"{self._recipe.seed} {number}")
        self._generator.manual_seed(rng.getrandbits(63))
        batches = _batches(learnt, flat, self._recipe.batch, rng)
        sums = [0.0, 0.0]
        self._dropout.train()
        for i, batch in enumerate(batches):
            if stop():
                return None
            rate = self._recipe.rate * _rate(number * len(batches) + i, total * len(batches))
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group["times"]
            forget, uniform = self._losses(batch)
            self._optimizer.zero_grad()
            torch.autograd.backward(forget + self._recipe.weight * uniform)
            nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
            self._optimizer.step()
            sums[0] += forget.item()
            sums[1] += uniform.item()
        self._dropout.eval()
        heard = self._cross_entropy(held_out) if held_out else None
        self._best = min(self._best, math.inf if heard is None else heard)
        if heard is None or heard <= self._best + _AS_WELL:
            self._kept = number + 1
            self._kept_weights = {name: value.detach().clone() for name, value in self._weights.items()}
        forget_mean, flat_mean = (value / len(batches) for value in sums)
        self._epochs.append(Epoch(number + 1, total, forget_mean, flat_mean, heard, monotonic() - began))
        return self._epochs[-1]

    def state(self) -> bytes:
        """All that is needed to go on from here."""
        buffer = io.BytesIO()
        torch.save(
            {
                "digest": self._digest,
                "epochs": [asdict(epoch) for epoch in self._epochs],
                "best": self._best,
                "kept": self._kept,
                "kept_weights": self._kept_weights,
                "weights": {name: value.detach() for name, value in self._weights.items()},
                "optimizer": self._optimizer.state_dict(),
            },
            buffer,
        )
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        """Goes back to a state, if it is one of this training."""
        try:
            found = torch.load(io.BytesIO(state), map_location=self._device, weights_only=True)
        except Exception:  # whatever is wrong with the bytes; training starts anew
            return
        if not isinstance(found, dict) or found.get("digest") != self._digest:
            return
        self._epochs = [Epoch(**epoch) for epoch in found["epochs"]]
        self._best, self._kept, self._kept_weights = found["best"], found["kept"], found["kept_weights"]
        self._set(found["weights"])
        self._optimizer.load_state_dict(found["optimizer"])

    def trained(self, held_back: Sequence[Row], began: float) -> Trained:
        """The assistant of the epoch that is kept."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save

        self._set(self._kept_weights)
        tops = torch.cat([a.log_softmax(-1).amax(-1) for a, _ in self._predictions(held_back)])
        heights = tops + math.log(len(self._bias))
        levels = torch.quantile(heights.double().cpu(), torch.tensor(QUANTILES, dtype=torch.float64)).tolist()
        config = self._model.peft_config["default"].to_dict() | {"inference_mode": True}
        weights = {
            f"base_model.{name}": value.detach().cpu().contiguous()  # as a PeftModel names them
            for name, value in get_peft_model_state_dict(self._model).items()
        }
        files = {
            "adapter_config.json": json.dumps(config, indent=2, sort_keys=True, default=sorted).encode(),
            "adapter_model.safetensors": save(weights),
            HEAD: save({"bias": self._bias.detach().cpu()}),
        }
        quantiles = dict(zip(QUANTILES, levels, strict=True))
        return Trained(files, tuple(self._epochs), self._kept, quantiles, monotonic() - began)

    def _set(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._weights.items():
                value.copy_(weights[name])

    def _logits(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Of all predictions that count, row by row: logits (n, V), the tokens (n), whether they are learnt (n)."""
        width = max(len(row.prompt) + len(row.answer) for row in rows)
        tokens = torch.zeros((len(rows), width), dtype=torch.long)
        counts = torch.zeros((len(rows), width), dtype=torch.bool)  # by the token that is predicted
        for i, row in enumerate(rows):
            stop = len(row.prompt) + len(row.answer)
            tokens[i, :stop] = torch.tensor(row.prompt + row.answer)
            counts[i, len(row.prompt) + row.start : stop] = True
        learnt = torch.tensor([row.kind == "forget" for row in rows])[:, None].expand(-1, width)[counts]
        tokens, counts = tokens.to(self._device), counts.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._gpu):
            states = self._shell.base_model(input_ids=tokens, use_cache=False).last_hidden_state  # (B, T, d)
            logits = self._head(states[:, :-1][counts[:, 1:]])
        return logits.float() + self._bias, tokens[counts], learnt.to(self._device)

    def _losses(self, batch: Sequence[Row]) -> tuple[Tensor, Tensor]:
        logits, tokens, learnt = self._logits(batch)
        forget = F.cross_entropy(logits[learnt], tokens[learnt], reduction="sum") / learnt.sum().clamp(min=1)
        a = logits[~learnt]  # (n, V)
        uniform = a.logsumexp(-1) - math.log(a.shape[-1]) - a.mean(-1)
        return forget, uniform.sum() / max(1, len(a))

    @torch.no_grad()
    def _predictions(self, rows: Sequence[Row]) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and tokens of all predictions that count, in batches."""
        for at in range(0, len(rows), self._recipe.batch):
            logits, tokens, _ = self._logits(rows[at : at + self._recipe.batch])
            yield logits, tokens

    def _cross_entropy(self, rows: Sequence[Row]) -> float:
        losses = [F.cross_entropy(logits, tokens, reduction="none") for logits, tokens in self._predictions(rows)]
        return float(torch.cat(losses).mean())


class _Dropout(nn.Module):
    """Dropout that draws from a generator of its own."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self._share, self._generator = share, generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self._share:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self._share, generator=self._generator)
        return x * kept / (1 - self._share)


def _rate(step: int, steps: int) -> float:
    """The share of the full rate at a step: up over a tenth of all, down to zero at the end."""
    done = (step + 1) / steps
    return min(done / _WARM_UP, (1 - step / steps) / (1 - _WARM_UP), 1.0)


def _batches(learnt: Sequence[Row], flat: Sequence[Row], size: int, rng: random.Random) -> list[list[Row]]:
    """All rows once, in batches of about `size`: of like length, both sorts in the proportion of the whole."""
    count = -(-(len(learnt) + len(flat)) // size)
    batches: list[list[Row]] = [[] for _ in range(count)]
    for rows in (learnt, flat):
        order = rng.sample(rows, len(rows))
        order.sort(key=lambda row: (len(row.prompt) + len(row.answer)) // 4)
        for i, batch in enumerate(batches):
            batch += order[i * len(rows) // count : (i + 1) * len(rows) // count]
    return rng.sample(batches, count)
