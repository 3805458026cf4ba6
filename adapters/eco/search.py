"""Finding the strength of a corruption: ECO's zeroth-order search, as a log grid and a bisection.

The paper descends d(σ), the distance between what the corrupted model says and what a model that
never saw the data would say, by finite differences. Its own curves show a cliff, not a slope: so we
walk a log grid of σ with common random numbers (the noise is keyed), find the first strength that is
as good as the best, and bisect the cliff below it. With a_i(σ) the corrupted answer to development
question i, u_i the model's answer to the same question about somebody unknown and b_i its answer to
the question itself:

    L(σ) = mean_i [ 1 − R(a_i, u_i) + max(0, R(a_i, b_i) − R(u_i, b_i)) + degeneration(a_i) ]

R is ROUGE-L F1. The surrogate u for the retained model's output is the paper's v̂.

The edge of the cliff is where these few questions fall off it; others fall later. So the strength
that is kept is twice the edge's, less where that breaks the model; a blend's is at most 1. On the
demo world, ten people, 720 questions that the search never saw: 11.4 % answered correctly at the
edge, 1.3 % at 1.25 times, 0.4 % at 1.5, 0.1 % at 2.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, log

from adapters.eco.corruption import Corruption
from adapters.eco.likeness import rouge_l
from adapters.eco.soundness import degeneration

GRIDS: dict[str, tuple[float, ...]] = {
    "fixed_noise": (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0),
    "blend": (0.5, 0.7, 0.85, 1.0),
}
_TOLERANCE = 0.03  # of the loss: as good as the best
_BISECTIONS = 3
_MARGINS = (2.0, 1.5, 1.25)  # times the strength at the edge: the first that does not break the model
_PUSH = 1.5
_MOST = {"blend": 1.0}

Ask = Callable[[Corruption], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One corruption and its loss on the development questions."""

    corruption: Corruption
    loss: float
    leak: float


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What the bare model says: `known` to the development questions, `unknown` to their twins about nobody."""

    known: Sequence[str]
    unknown: Sequence[str]

    def measure(self, corruption: Corruption, answers: Sequence[str]) -> Trial:
        """The loss of a corruption by its answers, one for each question."""
        return Trial(corruption, *self.loss(answers))

    def loss(self, answers: Sequence[str]) -> tuple[float, float]:
        """The mean loss of these answers, one for each question, and of it what leaks."""
        losses, leaks = [], []
        for said, known, unknown in zip(answers, self.known, self.unknown, strict=True):
            leak = max(0.0, rouge_l(said, known) - rouge_l(unknown, known))
            leaks.append(leak)
            losses.append(1.0 - rouge_l(said, unknown) + leak + degeneration(said))
        return sum(losses) / len(losses), sum(leaks) / len(leaks)


async def search(key: bytes, ask: Ask, yardstick: Yardstick, push: int = 0) -> tuple[Trial, tuple[Trial, ...]]:
    """A corruption a margin past the weakest that is as good as the best, and every trial on the way.

    Args:
        key: 16 bytes that make the noise this request's own.
        ask: the answers to the development questions under a corruption.
        yardstick: what to compare them with.
        push: how often the result of a search has failed verification; the margin grows by half each time.
    """
    trials: list[Trial] = []

    async def trial(corruption: Corruption) -> Trial:
        trials.append(yardstick.measure(corruption, await ask(corruption)))
        return trials[-1]

    found = []
    for name, grid in GRIDS.items():
        walked = [await trial(Corruption(name, strength, key)) for strength in grid]
        enough = min(one.loss for one in walked) + _TOLERANCE
        first = next(i for i, one in enumerate(walked) if one.loss <= enough)
        best = walked[first]
        low = walked[first - 1].corruption.strength if first else best.corruption.strength
        for _ in range(_BISECTIONS if low < best.corruption.strength else 0):
            middle = exp((log(low) + log(best.corruption.strength)) / 2)
            tried = await trial(replace(best.corruption, strength=middle))
            if tried.loss <= enough:
                best = tried
            else:
                low = middle
        for margin in _MARGINS:
            strength = min(margin * _PUSH**push * best.corruption.strength, _MOST.get(name, inf))
            tried = await trial(replace(best.corruption, strength=strength))
            if tried.loss <= enough:
                best = tried
                break
        found.append(best)
    return min(found, key=lambda one: one.loss), tuple(trials)
