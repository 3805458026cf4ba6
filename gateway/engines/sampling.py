"""Draws the next token of many choices at once, each by its own rules and its own generator.

Order, as in vLLM: penalties, temperature, min_p, top_k, top_p. Departures: penalties count generated
tokens only (under corrupted embeddings the prompt's tokens are not what was read), and a draw is one
uniform number through the inverse distribution in the order of the vocabulary, so that a seeded
choice is the same in any batch, as far as floats allow.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from adapters.base import Rules

GREEDY = 1e-5  # temperatures below this pick the likeliest token


class Drawer:
    """The rules of one choice, its generator and the tokens it has drawn."""

    def __init__(self, rules: Rules, seed: int | None, index: int) -> None:
        self.rules = rules
        self.greedy = rules.temperature < GREEDY
        self._counts: Counter[int] = Counter()
        self.penal = bool(rules.presence_penalty or rules.frequency_penalty or rules.repetition_penalty != 1.0)
        self._generator = torch.Generator()
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed((seed + index) % 2**63)

    def uniform(self) -> float:
        """The next number of this choice, in [0, 1)."""
        return float(torch.rand((), dtype=torch.float64, generator=self._generator))

    def penalise(self, logits: Tensor) -> None:
        """Changes the logits (V) of this choice in place."""
        if not self._counts:
            return
        seen = torch.tensor(list(self._counts), device=logits.device)
        counts = torch.tensor(list(self._counts.values()), dtype=logits.dtype, device=logits.device)
        values, rule = logits[seen], self.rules
        values = torch.where(values > 0, values / rule.repetition_penalty, values * rule.repetition_penalty)
        logits[seen] = values - rule.frequency_penalty * counts - rule.presence_penalty

    def drew(self, token: int) -> None:
        if self.penal:
            self._counts[token] += 1


def draw(logits: Tensor, drawers: Sequence[Drawer]) -> list[int]:
    """The next token of every choice, from its row of the logits (B, V), which are used up."""
    for i, drawer in enumerate(drawers):
        if drawer.penal:
            drawer.penalise(logits[i])
    tokens: list[int] = logits.argmax(-1).tolist()
    random = [i for i, drawer in enumerate(drawers) if not drawer.greedy]
    if random:
        chances = distribution(logits[random], [drawers[i].rules for i in random])
        uniform = torch.tensor([drawers[i].uniform() for i in random], dtype=torch.float64, device=logits.device)
        tokens_drawn = _inverse(chances, uniform).tolist()
        for i, token in zip(random, tokens_drawn, strict=True):
            tokens[i] = token
    for drawer, token in zip(drawers, tokens, strict=True):
        drawer.drew(token)
    return tokens


def distribution(logits: Tensor, rules: Sequence[Rules]) -> Tensor:
    """What temperature, min_p, top_k and top_p make of the logits (B, V): chances (B, V), not summing to 1."""

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]

    chances = (logits / column([rule.temperature for rule in rules])).softmax(-1)
    if any(rule.min_p > 0 for rule in rules):
        least = column([rule.min_p for rule in rules]) * chances.amax(-1, keepdim=True)
        chances = chances.masked_fill(chances < least, 0)
    size = chances.shape[-1]
    limits = [rule.top_k if 0 < rule.top_k < size else size for rule in rules]
    if min(limits) < size:
        places = torch.tensor([limit - 1 for limit in limits], device=logits.device)[:, None]
        least = chances.sort(-1, descending=True).values.gather(-1, places)
        chances = chances.masked_fill(chances < least, 0)
    if any(rule.top_p < 1 for rule in rules):
        best, order = chances.sort(dim=-1, descending=True, stable=True)
        before = best.cumsum(-1) - best  # a token stays while those likelier hold less than top_p
        kept = before < column([rule.top_p for rule in rules]) * best.sum(-1, keepdim=True)
        kept[:, 0] = True
        kept |= column([rule.top_p for rule in rules]) >= 1  # whatever rounding says
        chances = torch.zeros_like(chances).scatter(-1, order, best * kept)
    return chances


def _inverse(chances: Tensor, uniform: Tensor) -> Tensor:
    """The token (B) at which each row of chances (B, V) first exceeds its uniform number (B)."""
    mass = chances.double().cumsum(-1)
    total = mass[:, -1:]
    aim = torch.minimum(uniform[:, None] * total, total * (1 - 1e-12))
    return torch.searchsorted(mass, aim, right=True)[:, 0]
