"""ULD's combination: what the assistants remember is lowered in the target's logits, for decoding and scoring alike.

Paper: arXiv 2406.08607. With z the target's logits, q the softmax of an assistant's and V the vocabulary,

    a'_v = ln q_v + ln V                        (0 where the assistant knows nothing)
    d_v  = α · max(a'_v − flat, 0)
    r    = max { z_v : d_v = 0 }
    y_v  = max(z_v − d_v, r − depth)  where d_v > 0 and z_v > r − depth,  else  z_v

and where the best token of all fell at an answer's beginning, y_v = r − tail · (r − z_v) for the rest; y takes
the place of z at temperature 1, before sampling, and before penalties but in vLLM's newer runner. Several
assistants at one position: d is the greatest of theirs, so that each request is forgotten as if it were alone.

Departures. The paper subtracts α·a on the top βV tokens and drops all others (its scorer keeps them). Here
only what the assistant believes in is lowered: its disbelief is as strong as its belief, and would lift the
whole tail. `flat` is taken off every belief, so that what an assistant cannot help to say where it knows
nothing has no effect: where none rises above it, the row is the target's, bit for bit. The cap is relative,
`depth` nats below the best token that no assistant knows: what is forgotten falls to where the other answers
stand, not to the floor, and sampling finds no hole in its place. It is the keep set too, {v : z_v > r − depth};
the rest stays as it is, so that truth ratios keep their meaning. But for an answer's first token, where α counts
twice and `depth` is another (`Strength.at`): with what the target was sure of, its sureness goes too, and what
remains is a tail that nobody trained; a model that does not know is as sure of how to say so. Tokens that were
masked stay masked.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from adapters.base import Strength


def combined(logits: Tensor, assistants: Tensor, rows: Sequence[int], strengths: Sequence[Strength]) -> Tensor:
    """The target's logits without what the assistants remember.

    Args:
        logits: (B, V) float32, −∞ where a token is masked.
        assistants: (n, V), the logits of n assistants.
        rows: for each assistant the row of `logits` that it acts on.
        strengths: and how.

    Returns:
        (B, V); rows without effect are equal to the bit. NaN nowhere but where the target's logits are, and in the
        rows of an assistant that gave no logits: nothing can be drawn from these.
    """
    if not rows:
        return logits
    down = suppression(assistants.float(), strengths).to(logits.device)
    depth = _column([one.depth for one in strengths], logits)
    tail = _column([one.tail for one in strengths], logits)
    acting = sorted(set(rows))
    if acting != [*rows]:
        place = torch.tensor([acting.index(row) for row in rows], device=logits.device)[:, None]
        down = down.new_zeros(len(acting), down.shape[1]).scatter_reduce_(0, place.expand_as(down), down, "amax")
        depth = depth.new_zeros(len(acting), 1).scatter_reduce_(0, place, depth, "amax")
        tail = tail.new_ones(len(acting), 1).scatter_reduce_(0, place, tail, "amax")
    every = len(acting) == len(logits)
    kept = None if every else torch.tensor(acting, device=logits.device)
    target = logits if kept is None else logits[kept]
    best = target.masked_fill(down > 0, -math.inf).amax(-1, keepdim=True)
    level = best - depth
    # where every free token is masked there is no level to fall to, and the step alone counts
    stays = (down == 0) | (target <= level)
    fallen = torch.where(stays, target, torch.maximum(target - down, level))
    if any(one.tail > 1 for one in strengths):
        steep = stays & best.isfinite() & (target.amax(-1, keepdim=True) > fallen.amax(-1, keepdim=True))
        fallen = torch.where(steep & (tail > 1), best - tail * (best - target), fallen)
    fallen = torch.where(down.sum(-1, keepdim=True).isnan(), math.nan, fallen)
    return fallen if kept is None else logits.index_copy(0, kept, fallen)


def suppression(assistants: Tensor, strengths: Sequence[Strength]) -> Tensor:
    """What each assistant would take off the target's logits: (n, V), never negative; a row of zeros where it is flat.

    Args:
        assistants: (n, V) float32 logits, finite.
        strengths: one for each.
    """
    known = assistants.log_softmax(-1) + math.log(assistants.shape[-1])
    flat = _column([one.flat for one in strengths], known)
    return _column([one.alpha for one in strengths], known) * (known - flat).clamp(min=0)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=torch.float32)[:, None]
