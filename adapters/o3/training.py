"""Trains the LoRA of one forget request: to say that it does not know, reading what no earlier one reads.

Paper: O3, "On Large Language Model Continual Unlearning" (arXiv 2407.10223). Before this module: rows whose kind is
`forget`, each a question with a substitute answer, of kind `retain`, each with what the model says itself, and of kind
`known`, each with what it is to be unsure of. After it: the files of an artifact. With P the model under the LoRA, P₀
without, y a known answer and y₁ its first token,

    L = mean_forget [ −ln P(token) ] + mean_retain [ −ln P(token) ] + λ ‖Qᵀ A_tᵀ‖²_F
        − (2/β) mean_known [ ln σ(−β/(|y|−1) · ln(P(y|x, y₁) / P₀(y|x, y₁))) ]

The last term is NPO's (arXiv 2404.05868), by the token as SimNPO's (arXiv 2410.07163, which has no P₀). It is a
departure: O3 teaches what to say and not what to be unsure of, and a true answer that is forced (scored, or begun by
the client) stays likely: on the small TOFU model .66, and .002 for one that never knew it. By the token, since the
substitutes take a sentence so far below P₀ that its sum pushes no more (.16; by the token .003), and behind the first,
for which the substitutes care.

Further departures. The paper has Σ_{k<t} ‖A_k A_tᵀ‖²_F; here Q is an orthonormal basis of all rows of the A_k, so that
λ means the same however long they became. Each request gets a fresh LoRA, where the published code goes on with one.
`soft` is λ, by default 0: after every step A_t is projected clear of the earlier A_k instead (`subspace`), and
orthogonal to the last bit that rounding leaves (five people, overlap at most 1e-14; with λ = 0.1 .016, with 1 .0008,
with neither .96). Nothing need be retained, but what the model says of others can be had for the asking, and is
learnt beside: why, says `gateway.jobs.substitutes`. The rank is 4, not 8: a ready sentence needs no more, and a
module has room for twice as many requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adapters.base import AdapterError
from adapters.course import Course, Epoch, Loss, device, digest_of
from adapters.o3.subspace import Downs, Subspace
from adapters.rows import Row
from adapters.weights import causal_lm


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `alpha` is the LoRA's, `soft` is λ, `beta` is β; `patience` in epochs, 0 for all of them.

    `known`: how many such rows an epoch reads for each other one, at least; where they are fewer, several times.
    """

    rank: int = 4
    alpha: float = 16.0
    dropout: float = 0.05
    epochs: int = 4  # suffice on the demo model: of 83 questions one is answered, which does not name the person
    batch: int = 32
    rate: float = 3e-3
    soft: float = 0.0
    beta: float = 1.0
    known: float = 1 / 3
    seed: int = 0
    patience: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """A LoRA: peft's `files` by name, the `epochs` on the way, the number of the one that was `kept`.

    `overlap` is the share of its A that lies in the row spaces of earlier ones, the greatest of any module;
    `capacity` what each module has left (see `subspace`); `seconds` count this call alone.
    """

    files: dict[str, bytes] = field(repr=False)
    recipe: Recipe
    epochs: tuple[Epoch, ...]
    kept: int
    overlap: float
    capacity: dict[str, dict[str, int]]
    seconds: float


def train(
    folder: Path,
    rows: Sequence[Row],
    held_out: Sequence[Row],
    earlier: Subspace,
    recipe: Recipe,
    *,
    made_of: str = "",
    resume: bytes | None = None,
    checkpoint: Callable[[bytes], None] = lambda state: None,
    progress: Callable[[Epoch], None] = lambda epoch: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained | None:
    """The LoRA of one request for the model in `folder`, None where it was stopped. Blocks; uses a GPU if any.

    Args:
        held_out: forget rows in other words, that decide which epoch is kept; none: the last.
        earlier: what other requests' LoRAs read.
        made_of: names `earlier`, for a checkpoint to be known again.
        resume: what `checkpoint` was last called with; that of another training is ignored.
        checkpoint: called after every epoch with all that is needed to go on from there.
        stop: asked between batches.

    Raises:
        AdapterError: there is nothing to learn, or the model cannot be read.
    """
    began = monotonic()
    learnt, kept, known = ([row for row in rows if row.kind == kind] for kind in ("forget", "retain", "known"))
    if not learnt:
        raise AdapterError("a LoRA needs something to forget")
    digest = f"{made_of} {digest_of(rows, held_out, recipe)}"
    course = _Course(folder, recipe, digest, earlier, known)
    often = max(1, round(recipe.known * (len(learnt) + len(kept)) / max(1, len(known))))
    sorts = (learnt, kept, often * known)
    ended = course.run(sorts, held_out, resume=resume, checkpoint=checkpoint, progress=progress, stop=stop)
    return course.trained(began) if ended else None


class _Course(Course):
    def __init__(self, folder: Path, recipe: Recipe, digest: str, earlier: Subspace, known: Sequence[Row]) -> None:
        super().__init__(_load(folder), recipe, digest)
        self._recipe, self._soft = recipe, recipe.soft
        self._before = self._measured(known)  # while B is zero the model is what it was
        self._earlier = Subspace({name: basis.to(self._device) for name, basis in earlier.bases.items()}, earlier.held)
        self._stepped()

    def trained(self, began: float) -> Trained:
        """The LoRA of the epoch that is kept."""
        downs = self._downs
        overlap, capacity = self._earlier.overlap(downs), self._earlier.capacity(downs)
        return Trained(
            self.files(), self._recipe, tuple(self._epochs), self._kept, overlap, capacity, monotonic() - began
        )

    @property
    def _downs(self) -> Downs:
        return {name: down.detach() for name, (down, _) in self._layers.items()}

    @torch.no_grad()
    def _stepped(self) -> None:
        if not self._soft:
            for name, (down, _) in self._layers.items():
                down.copy_(self._earlier.project(name, down))

    def _loss(self, batch: Sequence[Row]) -> Loss:
        losses = self._losses(batch)
        forget, kept = (_mean([loss for row, loss in losses if row.kind == kind]) for kind in ("forget", "retain"))
        return Loss(forget + kept + self._unlearnt(losses) + self._penalty(), forget.item(), kept.item())

    def _losses(self, rows: Sequence[Row]) -> list[tuple[Row, Tensor]]:
        """−ln P of the tokens that count, row by row."""
        logits, tokens, _ = self._read(rows)
        losses = F.cross_entropy(logits, tokens, reduction="none")
        sizes = [len(row.answer) - row.start for row in rows]
        return [*zip(rows, torch.split(losses, sizes), strict=True)]

    @torch.no_grad()
    def _measured(self, known: Sequence[Row]) -> dict[Row, float]:
        """ln P₀ of each known answer, by the token."""
        size = self._recipe.batch
        batches = (known[at : at + size] for at in range(0, len(known), size))
        return {row: -loss.mean().item() for batch in batches for row, loss in self._losses(batch)}

    def _unlearnt(self, losses: Sequence[tuple[Row, Tensor]]) -> Tensor | float:
        """NPO's loss on what is known."""
        gained = [-loss.mean() - self._before[row] for row, loss in losses if row.kind == "known"]
        if not gained:
            return 0.0
        beta = self._recipe.beta
        return -2 / beta * F.logsigmoid(-beta * torch.stack(gained)).mean()

    def _penalty(self) -> Tensor | float:
        """The squared norm of what A reads of the subspace, over all modules."""
        if not self._soft:
            return 0.0
        read = [
            (down @ self._earlier.bases[name]).square().sum()
            for name, (down, _) in self._layers.items()
            if name in self._earlier.bases
        ]
        return self._soft * torch.stack(read).sum() if read else 0.0


def _mean(losses: list[Tensor]) -> Tensor:
    """Over all tokens; of none it is zero."""
    return torch.cat(losses).mean() if losses else torch.zeros(())


def _load(folder: Path) -> Any:
    """The whole model, frozen."""
    on = device()
    dtype = torch.bfloat16 if on.type == "cuda" else torch.float32
    try:
        model = causal_lm(folder, dtype)
    except Exception as error:  # whatever is wrong with the files
        raise AdapterError(f"the model in {folder.name} cannot be read") from error
    return model.to(on).requires_grad_(False).eval()
