"""What ECO costs on a real vLLM: the pace of a touched answer, and what its first token waits for."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from bench.load.drive import heard
from bench.load.real import Scene
from guards.targets import ordinary_prompts

Indices = NDArray[np.int64]

_BLOCK = 10  # requests between two readings of vLLM's counters
_PROMPT_TOKENS = 200
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Cost:
    """Each with the middle 95 % of it when pairs are drawn anew.

    `speed`: decode speed of touched requests, as a share of untouched ones'. `added_ms`: to the first
    token of a prompt of `tokens`. A block or pair is left out where it has no answer; `failed` counts requests.
    """

    speed: tuple[float, float, float]
    added_ms: tuple[float, float, float]
    tokens: int
    pairs: int
    failed: int


async def cost(scene: Scene, pairs: int, bar: Progress) -> Cost:
    """Blocks of requests about forgotten people and about others, in turns; then long prompts one by one."""
    failed, paces, waits = 0, [], []
    for i in bar.track(range(max(2, pairs // _BLOCK)), description="decode speed under ECO"):
        blocks = [await _pace(scene, touched=touched, seed=i) for touched in (True, False)]
        failed += sum(lost for _, lost in blocks)
        paces.append([pace for pace, _ in blocks])
    rng, before = random.Random(0), await _preamble(scene)
    for _ in bar.track(range(pairs), description="first tokens under ECO"):
        asked, took = scene.pair(rng), [nan, nan]
        for place in rng.sample((0, 1), 2):
            for timing in heard([await scene.client.ask(f"{before} {asked[place]}", stream=True)]):
                took[place] = 1e3 * timing.first
        failed += sum(one != one for one in took)
        waits.append(took)
    touched, untouched = _known(paces)
    first, plain = _known(waits)
    return Cost(
        _interval(lambda at: untouched[at].mean() / touched[at].mean(), len(touched)),
        _interval(lambda at: np.median(first[at]) - np.median(plain[at]), len(first)),
        await scene.tokens(f"{before} {scene.pair(rng)[0]}"),
        pairs,
        failed,
    )


async def _pace(scene: Scene, *, touched: bool, seed: int) -> tuple[float, int]:
    """Seconds between two tokens, as vLLM counts them, over a block of requests; and how many of these failed."""
    rng = random.Random(seed)
    seconds, tokens = await scene.between_tokens()
    timings = [await scene.client.ask(scene.pair(rng)[0 if touched else 1], stream=True) for _ in range(_BLOCK)]
    later, more = await scene.between_tokens()
    return (later - seconds) / (more - tokens) if more > tokens else nan, _BLOCK - len(heard(timings))


def _known(pairs: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """(2, n) of those pairs of which both are."""
    both = np.array(pairs, np.float64)
    known: NDArray[np.float64] = both[np.isfinite(both).all(axis=1)].T
    return known


async def _preamble(scene: Scene) -> str:
    """Ordinary sentences that fill a prompt up to its tokens."""
    sentences = ordinary_prompts()
    for count in range(1, len(sentences)):
        text = " ".join(sentences[:count])
        if await scene.tokens(text) >= _PROMPT_TOKENS - 12:
            return text
    raise AssertionError("too few sentences")


def _interval(statistic: Callable[[Indices], Any], count: int) -> tuple[float, float, float]:
    if not count:
        return nan, nan, nan
    rng = np.random.default_rng(0)
    again = [float(statistic(rng.integers(count, size=count))) for _ in range(_RESAMPLES)]
    low, high = np.quantile(again, [0.025, 0.975])
    return float(statistic(np.arange(count))), float(low), float(high)
