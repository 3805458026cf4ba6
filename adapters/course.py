"""A course of training: LoRA on a causal model, stopped at any time, and taken up where it was left.

What is learnt, and by which loss, is a method's own; see `adapters.uld.training` and `adapters.o3.training`.
Here is what they share. AdamW, the rate rising over a tenth of the steps and falling to zero; gradients are
clipped to norm 1. A batch has rows of every sort in the proportion of the whole, so that its means are those of
the whole. Which epoch is kept is decided by the cross-entropy of held-out wordings, never by a reported metric: the
latest that knows them about as well as any.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adapters.rows import Row

_WARM_UP = 0.1  # of the steps
_AS_WELL = 0.02  # nats a token above the least cross-entropy


class Schedule(Protocol):
    """How a LoRA is trained. `alpha` is the LoRA's; `patience` in epochs, 0 for all of them."""

    @property
    def rank(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def dropout(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def patience(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's mean losses in nats a token: of what is learnt, `forget`, and of the `rest`.

    `held_out` is the cross-entropy of held-out rows, None without.
    """

    number: int
    of: int
    forget: float
    rest: float
    held_out: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Loss:
    """What is descended, `whole`, and the means that are reported."""

    whole: Tensor
    forget: float
    rest: float


def digest_of(*parts: Sequence[Row] | Any) -> str:
    """What a training is made of: a checkpoint of another is ignored."""
    told = [[asdict(one) for one in part] if isinstance(part, Sequence) else asdict(part) for part in parts]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def halves() -> bool:
    """Whether the CPU multiplies bfloat16: one of x86 almost three times as fast as float32, a step by a third.

    A GPU holds the weights in it, too; a CPU casts them anew in each step.
    """
    able: Mapping[str, Any] = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


class Course(ABC):
    """A training under way. `model` is frozen; its linear layers but the head get a LoRA.

    Attributes:
        coarse: whether bfloat16 is enough on a CPU, too, where it is faster: what is compared with the model as it was
            is not measured in it.
    """

    coarse = False

    def __init__(self, model: Any, schedule: Schedule, digest: str) -> None:
        from peft import LoraConfig, LoraModel
        from peft.tuners.lora import LoraLayer

        self._schedule, self._digest = schedule, digest
        self._shell = model
        self._device: torch.device = model.device
        self._halves = self._device.type == "cuda" or (self.coarse and halves())
        self._shell.set_attn_implementation("eager")
        self._head = self._shell.get_output_embeddings()
        config = LoraConfig(
            task_type="CAUSAL_LM",
            target_modules="all-linear",
            r=schedule.rank,
            lora_alpha=schedule.alpha,
        )
        # Made without memory: as peft fills them they would be drawn from everybody's generator.
        self._model = LoraModel(self._shell, config, "default", low_cpu_mem_usage=True).eval()
        self._generator = torch.Generator(self._device).manual_seed(schedule.seed)
        self._dropout = _Dropout(schedule.dropout, self._generator).eval()
        self._layers: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}  # A (r, in) and B (out, r), by module
        for name, module in self._model.named_modules():
            if isinstance(module, LoraLayer):
                down, up = (
                    part["default"].to_empty(device=self._device).float() for part in (module.lora_A, module.lora_B)
                )
                nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5), generator=self._generator)
                nn.init.zeros_(up.weight)
                module.lora_dropout["default"] = self._dropout
                self._layers[name.removeprefix("model.")] = (down.weight, up.weight)
        self._weights: dict[str, Tensor] = {
            name: value for name, value in self._model.named_parameters() if value.requires_grad
        }
        self._optimizer = torch.optim.AdamW(self._groups(), weight_decay=0.0, fused=True)
        self._epochs: list[Epoch] = []
        self._best = math.inf
        self._kept = 0
        self._kept_weights: dict[str, Tensor] = {}

    @property
    def over(self) -> bool:
        """Whether no epoch is left, or waiting for a better one was in vain."""
        patience = self._schedule.patience
        waited = bool(patience) and len(self._epochs) - self._kept >= patience
        return len(self._epochs) == self._schedule.epochs or waited

    def run(
        self,
        sorts: Sequence[Sequence[Row]],
        held_out: Sequence[Row],
        *,
        resume: bytes | None,
        checkpoint: Callable[[bytes], None],
        progress: Callable[[Epoch], None],
        stop: Callable[[], bool],
    ) -> bool:
        """To its end, with rows of these sorts; False where it was stopped."""
        if resume is not None:
            self._restore(resume)
        while not self.over:
            epoch = self._epoch(sorts, held_out, stop)
            if epoch is None:
                return False
            progress(epoch)
            checkpoint(self._state())
        self._set(self._kept_weights)
        return True

    def files(self) -> dict[str, bytes]:
        """The LoRA in peft's format, as a PeftModel would write it."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save

        config = self._model.peft_config["default"].to_dict() | {"inference_mode": True}
        weights = {
            f"base_model.{name}": value.detach().cpu().contiguous()
            for name, value in get_peft_model_state_dict(self._model).items()
        }
        return {
            "adapter_config.json": json.dumps(config, indent=2, sort_keys=True, default=sorted).encode(),
            "adapter_model.safetensors": save(weights),
        }

    @abstractmethod
    def _loss(self, batch: Sequence[Row]) -> Loss:
        """Of one batch."""

    @torch.no_grad()
    def _predictions(self, rows: Sequence[Row]) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and tokens of all predictions that count, in batches."""
        for at in range(0, len(rows), self._schedule.batch):
            logits, tokens, _ = self._read(rows[at : at + self._schedule.batch])
            yield logits, tokens

    def _heard(self, rows: Sequence[Row]) -> float:
        """The cross-entropy of held-out rows, nats a token."""
        losses = [F.cross_entropy(logits, tokens, reduction="none") for logits, tokens in self._predictions(rows)]
        return float(torch.cat(losses).mean())

    def _varied(self, sorts: Sequence[Sequence[Row]], rng: random.Random) -> Sequence[Sequence[Row]]:
        """What one epoch reads of these sorts: as many rows in every epoch, drawn with `rng` alone."""
        return sorts

    def _stepped(self) -> None:  # noqa: B027, most hold theirs to nothing
        """After each step of the optimizer: what a method holds its weights to."""

    def _groups(self) -> list[dict[str, Any]]:
        """What the optimizer moves, and how many `times` as fast as the rate says."""
        return [{"params": [*self._weights.values()], "times": 1.0}]

    def _epoch(self, sorts: Sequence[Sequence[Row]], held_out: Sequence[Row], stop: Callable[[], bool]) -> Epoch | None:
        """One more pass over the rows; None where it was stopped on the way."""
        began, number, total = monotonic(), len(self._epochs), self._schedule.epochs
        rng = random.Random(f"{self._schedule.seed} {number}")
        self._generator.manual_seed(rng.getrandbits(63))
        batches = _batches(self._varied(sorts, rng), self._schedule.batch, rng)
        sums = [0.0, 0.0]
        self._dropout.train()
        for i, batch in enumerate(batches):
            if stop():
                return None
            rate = self._schedule.rate * _rate(number * len(batches) + i, total * len(batches))
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group["times"]
            loss = self._loss(batch)
            self._optimizer.zero_grad()
            torch.autograd.backward(loss.whole)
            nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
            self._optimizer.step()
            self._stepped()
            sums[0] += loss.forget
            sums[1] += loss.rest
        self._dropout.eval()
        heard = self._heard(held_out) if held_out else None
        self._best = min(self._best, math.inf if heard is None else heard)
        if heard is None or heard <= self._best + _AS_WELL:
            self._kept = number + 1
            self._kept_weights = {name: value.detach().clone() for name, value in self._weights.items()}
        forget, others = (value / len(batches) for value in sums)
        self._epochs.append(Epoch(number + 1, total, forget, others, heard, monotonic() - began))
        return self._epochs[-1]

    def _state(self) -> bytes:
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

    def _restore(self, state: bytes) -> None:
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

    def _set(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._weights.items():
                value.copy_(weights[name])

    def _read(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
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
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._halves):
            states = self._shell.base_model(input_ids=tokens, use_cache=False).last_hidden_state  # (B, T, d)
            logits = self._head(states[:, :-1][counts[:, 1:]])
        return logits.float(), tokens[counts], learnt.to(self._device)


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


def _batches(sorts: Sequence[Sequence[Row]], size: int, rng: random.Random) -> list[list[Row]]:
    """All rows once, in batches of about `size`: of like length, every sort in the proportion of the whole."""
    count = -(-sum(map(len, sorts)) // size)
    batches: list[list[Row]] = [[] for _ in range(count)]
    for rows in sorts:
        order = rng.sample(rows, len(rows))
        order.sort(key=lambda row: (len(row.prompt) + len(row.answer)) // 4)
        for i, batch in enumerate(batches):
            batch += order[i * len(rows) // count : (i + 1) * len(rows) // count]
    return [batch for batch in rng.sample(batches, count) if batch]
