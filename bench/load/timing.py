"""Whether the clock tells touched from untouched: pairs of one question about two people, and a two-sample test.

A third question of each pair, about somebody who is not forgotten either, is the control: it says what
the test finds where there is nothing to find. Answers differ in length, which every client sees anyway;
so what is compared is the time to the first token and the time from one event of a stream to the next.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.progress import Progress
from scipy import stats

from bench.load.drive import Timing
from bench.load.real import Scene

Measure = Literal["first", "between"]

_AT_ONCE = 3  # events of a stream without a gap before them: the role, the first token with it, and `[DONE]`


@dataclass(frozen=True, slots=True)
class Told:
    """One measure of touched answers (or of the control) against that of untouched ones.

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


async def told(scene: Scene, pairs: int, bar: Progress) -> list[Told]:
    """Every pair's three questions one by one, in an order drawn anew."""
    rng = random.Random(1)
    seen: dict[str, list[Timing]] = {"touched": [], "untouched": [], "control": []}
    for _ in bar.track(range(pairs), description="the clock"):
        (touched, untouched), (_, control) = scene.pair(rng), scene.pair(rng)
        asked = {"touched": touched, "untouched": untouched, "control": control}
        for which in rng.sample(sorted(asked), len(asked)):
            seen[which].append(await scene.client.ask(asked[which], stream=True))
    return [
        compared(measure, seen["control" if control else "touched"], seen["untouched"], control=control)
        for measure in ("first", "between")
        for control in (False, True)
    ]


def compared(measure: Measure, one: Sequence[Timing], other: Sequence[Timing], *, control: bool) -> Told:
    """Both tests on one measure."""
    a, b = [_of(measure, timing) for timing in one], [_of(measure, timing) for timing in other]
    rank = stats.mannwhitneyu(a, b)
    return Told(
        measure,
        control,
        len(a),
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
