"""Finding how strongly an assistant is subtracted: how far a token falls at most, then a grid over α and a margin.

The loss of an α is ECO's (see `adapters.eco.search`): the distance of the answers from what the model says about
nobody, what leaks, and what breaks. Departure from arXiv 2406.08607, which takes α = 0.75 throughout: with a cap on how
far a token falls, more α costs nothing but where the assistant errs, so the weakest that is as good as the best is
taken a quarter as strong again, less where that breaks the model. The questions of one request do not tell enough from
too little: at 1.25, which five searches mostly chose, 12 % of other questions were still answered, and below 4 what an
assistant knows in other words alone is believed too little (small TOFU model, depth 5: Prob of the true answer .10 at
α = 2, .04 at 4).

How far a token may fall is the model's and the request's. A model that never knew does not prefer the truth to what it
says of others; so the depth is half as much again as the least of a grid at which that is so (`deepened`), since the
edge on a few answers that were learned is none on others; where none suffices, half as much again as the deepest; and
1 nat where there is nothing to compare. On the demo world, whose answers come from closed sets, truth ratios are the
retain model's at 1 nat (five people, 65 questions; p .3 to .95) and too high from 3 on (p < .005). On the small TOFU
model, whose answers are sentences, at 8 (one author, 20 questions, α = 4; K = 1: p .08, K = 2: .83), and too low at 5
(K = 2: .03).

An answer's first token is another matter: whether one is given at all is nearly certain in a model that does not know,
and 10 nats below the words for that, one in twenty thousand begins otherwise. The other beginnings are eight times as
steep as the model has them: as they are, one draw in five at temperature 1 stammers, and among 128 such half of all
answers were found.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from adapters.base import Strength
from adapters.eco.search import Yardstick

ALPHAS = (4.0, 6.0)
DEPTHS = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0)  # nats
_PAST = 1.5  # times the least depth
_DEPTH, _FIRST = 1.0, 10.0  # nats
_TAIL = 8.0
_TOLERANCE = 0.03  # of the loss: as good as the best
_MARGIN = 1.25  # times the weakest, where that does not break the model
_PUSH = 1.5

Ask = Callable[[Strength], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One strength and its loss on the questions."""

    strength: Strength
    loss: float
    leak: float


def strength_of(alpha: float, flat: float) -> Strength:
    """With the depth that is right where nothing tells another."""
    return Strength(alpha, _DEPTH, flat, _FIRST, _TAIL)


async def deepened(preferred: Callable[[Strength], Awaitable[float]], strength: Strength) -> Strength:
    """The strength with a depth of its own.

    Args:
        preferred: by how much the truth is likelier than what is said of others, in nats, under a strength; NaN where
            nothing tells.
    """
    for depth in DEPTHS:
        found = await preferred(replace(strength, depth=depth))
        if math.isnan(found):
            return strength
        if found <= 0:
            break
    return replace(strength, depth=_PAST * depth)


async def search(ask: Ask, yardstick: Yardstick, strength: Strength) -> tuple[Trial, tuple[Trial, ...]]:
    """A strength a margin past the weakest that is as good as the best, and every trial on the way.

    Args:
        ask: the answers to the questions under a strength.
        yardstick: what to compare them with.
        strength: all of it but α.
    """
    trials: list[Trial] = []

    async def trial(alpha: float) -> Trial:
        tried = replace(strength, alpha=alpha)
        trials.append(Trial(tried, *yardstick.loss(await ask(tried))))
        return trials[-1]

    walked = [await trial(alpha) for alpha in ALPHAS]
    enough = min(one.loss for one in walked) + _TOLERANCE
    best = next(one for one in walked if one.loss <= enough)
    past = await trial(_MARGIN * best.strength.alpha)
    return past if past.loss <= enough else best, tuple(trials)


def pushed(strength: Strength) -> Strength:
    """The next stronger, for one that verification has not passed: more, and at lesser signs."""
    return replace(strength, alpha=strength.alpha * _PUSH, flat=max(strength.flat, 0.0) / _PUSH)
