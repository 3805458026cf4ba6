"""What ECO costs on a real vLLM: the pace of a touched answer, and what its first token waits for."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

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
    token of a prompt of `tokens`.
    """

    speed: tuple[float, float, float]
    added_ms: tuple[float, float, float]
    tokens: int
    pairs: int


async def cost(scene: Scene, pairs: int, bar: Progress) -> Cost:
    """Blocks of requests about forgotten people and about others, in turns; then long prompts one by one."""
    paces = [
        (await _pace(scene, touched=True, seed=i), await _pace(scene, touched=False, seed=i))
        for i in bar.track(range(max(2, pairs // _BLOCK)), description="decode speed under ECO")
    ]
    rng, before, waits = random.Random(0), await _preamble(scene), []
    for _ in bar.track(range(pairs), description="first tokens under ECO"):
        asked, took = scene.pair(rng), [0.0, 0.0]
        for place in rng.sample((0, 1), 2):
            took[place] = 1e3 * (await scene.client.ask(f"{before} {asked[place]}", stream=True)).first
        waits.append(took)
    touched, untouched = np.array(paces).T
    first, plain = np.array(waits).T
    return Cost(
        _interval(lambda at: untouched[at].mean() / touched[at].mean(), len(paces)),
        _interval(lambda at: np.median(first[at]) - np.median(plain[at]), len(waits)),
        await scene.tokens(f"{before} {scene.pair(rng)[0]}"),
        pairs,
    )


async def _pace(scene: Scene, *, touched: bool, seed: int) -> float:
    """Seconds between two tokens, as vLLM counts them, over a block of requests."""
    rng = random.Random(seed)
    seconds, tokens = await scene.between_tokens()
    for _ in range(_BLOCK):
        await scene.client.ask(scene.pair(rng)[0 if touched else 1], stream=True)
    later, more = await scene.between_tokens()
    return (later - seconds) / (more - tokens)


async def _preamble(scene: Scene) -> str:
    """Ordinary sentences that fill a prompt up to its tokens."""
    sentences = ordinary_prompts()
    for count in range(1, len(sentences)):
        text = " ".join(sentences[:count])
        if await scene.tokens(text) >= _PROMPT_TOKENS - 12:
            return text
    raise AssertionError("too few sentences")


def _interval(statistic: Callable[[Indices], Any], count: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(0)
    again = [float(statistic(rng.integers(count, size=count))) for _ in range(_RESAMPLES)]
    low, high = np.quantile(again, [0.025, 0.975])
    return float(statistic(np.arange(count))), float(low), float(high)
