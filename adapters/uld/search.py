"""Finding how strongly an assistant is subtracted: a grid over α, and a margin past what suffices.

The loss is ECO's (see `adapters.eco.search`): the distance of the answers from what the model says about
nobody, what leaks, and what breaks. Departure from arXiv 2406.08607, which takes α = 0.75 throughout: with a
cap on how far a token falls, more α costs nothing but where the assistant errs, so the weakest that is as
good as the best is taken half as strong again, less where that breaks the model.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from adapters.base import Strength
from adapters.eco.search import Yardstick

ALPHAS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_TOLERANCE = 0.03  # of the loss: as good as the best
_MARGINS = (1.5, 1.25)  # times the weakest: the first that does not break the model
_PUSH = 1.5

Ask = Callable[[Strength], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One strength and its loss on the questions."""

    strength: Strength
    loss: float
    leak: float


async def search(ask: Ask, yardstick: Yardstick, depth: float, flat: float) -> tuple[Trial, tuple[Trial, ...]]:
    """A strength of this depth a margin past the weakest that is as good as the best, and every trial on the way.

    Args:
        ask: the answers to the questions under a strength.
        yardstick: what to compare them with.
    """
    trials: list[Trial] = []

    async def trial(alpha: float) -> Trial:
        strength = Strength(alpha, depth, flat)
        trials.append(Trial(strength, *yardstick.loss(await ask(strength))))
        return trials[-1]

    walked = [await trial(alpha) for alpha in ALPHAS]
    enough = min(one.loss for one in walked) + _TOLERANCE
    best = next(one for one in walked if one.loss <= enough)
    weakest = best.strength.alpha
    for margin in _MARGINS:
        tried = await trial(margin * weakest)
        if tried.loss <= enough:
            return tried, tuple(trials)
    return best, tuple(trials)


def pushed(strength: Strength) -> Strength:
    """The next stronger, for one that verification has not passed: more, deeper, and at lesser signs."""
    return replace(
        strength, alpha=strength.alpha * _PUSH, depth=strength.depth * _PUSH, flat=max(strength.flat, 0.0) / _PUSH
    )
