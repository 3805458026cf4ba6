"""Whether the clock tells touched from untouched: pairs of one question about two people, and a two-sample test.

A third question of each pair, about somebody who is not forgotten either, is the control: it says what
the test finds where there is nothing to find. Answers differ in length, which every client sees anyway;
so what is compared is the time to the first token and the time from one event of a stream to the next.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

from rich.progress import Progress
from scipy import stats

from bench.load.drive import Timing, heard
from bench.load.real import Scene

Measure = Literal["first", "between"]

_AT_ONCE = 3  # events of a stream without a gap before them: the role, the first token with it, and `[DONE]`


@dataclass(frozen=True, slots=True)
class Told:
    """One measure of touched answers (or of the control) against that of untouched ones, of those that came whole.

    `slower`: how often one of the first takes longer than one of the second, 0.5 where the clock tells
    nothing. `rank_p`, `shape_p`: of Mann and Whitney's test and of Kolmogorov and Smirnov's.
    """

    measure: Measure
    control: bool
    pairs: int
    touched_ms: float  # medians
    untouched_ms: float
    slower: float
    rank_p: float
    shape_p: float


async def told(scene: Scene, pairs: int, bar: Progress) -> tuple[list[Told], int]:
    """Every pair's three questions one by one, in an order drawn anew; and how many of these failed."""
    rng = random.Random(1)
    seen: dict[str, list[Timing]] = {"touched": [], "untouched": [], "control": []}
    for _ in bar.track(range(pairs), description="the clock"):
        (touched, untouched), (_, control) = scene.pair(rng), scene.pair(rng)
        asked = {"touched": touched, "untouched": untouched, "control": control}
        for which in rng.sample(sorted(asked), len(asked)):
            seen[which].append(await scene.client.ask(asked[which], stream=True))
    found = [
        compared(measure, seen["control" if control else "touched"], seen["untouched"], control=control)
        for measure in ("first", "between")
        for control in (False, True)
    ]
    return found, sum(len(some) - len(heard(some)) for some in seen.values())


def compared(measure: Measure, one: Sequence[Timing], other: Sequence[Timing], *, control: bool) -> Told:
    """Both tests on one measure; nothing is known where all of one side failed."""
    a, b = ([_of(measure, timing) for timing in heard(some)] for some in (one, other))
    if not a or not b:
        return Told(measure, control, len(one), nan, nan, nan, nan, nan)
    rank = stats.mannwhitneyu(a, b)
    return Told(
        measure,
        control,
        len(one),
        float(stats.scoreatpercentile(a, 50)),
        float(stats.scoreatpercentile(b, 50)),
        float(rank.statistic) / (len(a) * len(b)),
        float(rank.pvalue),
        float(stats.ks_2samp(a, b).pvalue),
    )


def _of(measure: Measure, timing: Timing) -> float:
    """In milliseconds."""
    gaps = max(1, timing.events - _AT_ONCE)
    return 1e3 * (timing.first if measure == "first" else (timing.total - timing.first) / gaps)
