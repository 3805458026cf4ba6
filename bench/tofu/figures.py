"""What TOFU's rows come to: the columns of its table, how sure they are, and the figures that must hold.

Before it: `rows`. After it: `run`. Rows come as `of`, by model, split and seed.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from bench.metrics.intervals import Interval
from bench.result import Figure
from bench.tofu.marks import WAYS, quality
from bench.tofu.rows import Row
from bench.tofu.size import Size

_APART = ("row", "split", "seed", "forget_quality")


def figures(of: Mapping[tuple[str, str, int], Row], size: Size) -> list[Figure]:
    """The issue's, each at its worst over splits and seeds. "Away" counts either way, "above" only what leaks.

    Continuations are compared way by way: a model that goes on in one may be mute in another. Forget Quality of few
    questions is no figure.
    """
    places = [(split, seed) for split in size.splits for seed in size.seeds]

    def apart(method: str, *values: Callable[[Row], float]) -> list[float]:
        return [value(of[method, *at]) - value(of["retain", *at]) for value in values for at in places]

    k = size.effort.ks[-1]
    ways = [partial(_continued, way=way, times=100) for way in WAYS]
    held = fmean(of[method, *at].enforced for method in size.methods for at in places)
    found = [Figure.of("requests enforced by the method asked for, of all", held, ">=", 1)]
    for method in size.methods:
        if method in ("uld", "o3"):
            qualities = [quality(of[method, *at].forgotten.ratio, of["retain", *at].forgotten.ratio) for at in places]
            if known := [one for one in qualities if one is not None]:
                name = f"{method}: forget quality on the gated path, worst"
                found.append(Figure.of(name, min(known), ">", 0.05))
        if method == "ignorance":
            continue
        share = min(of[method, *at].utility.value / of["full", *at].utility.value for at in places)
        found.append(Figure.of(f"{method}: model utility as a share of full's, worst", share, ">=", 0.99))
        away = max(map(abs, apart(method, lambda row: fmean(row.forgotten.rouge))))
        found.append(Figure.of(f"{method}: greedy forget ROUGE-L away from the retain model's, worst", away, "<=", 0.1))
        for name, gaps, goal in (
            (f"leak@{k}", apart(method, lambda row: 100 * row.forgotten.leak(k)), 2),
            (f"leak@{k}, paraphrased,", apart(method, lambda row: 100 * row.forgotten.leak_paraphrased(k)), 2),
            ("answer-prefix continuation", apart(method, *ways), 5),
        ):
            away = max(map(abs, gaps))
            found.append(Figure.of(f"{method}: {name} away from the retain model's, worst", away, "<=", goal, "pt"))
            found.append(Figure.of(f"{method}: {name} above the retain model's, worst", max(gaps), "<=", goal, "pt"))
    return found


def over_seeds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of rows of TOFU's table that differ by their seeds: every column's mean, with the interval of Student's t.

    Forget Quality is left out, for a mean of p-values says nothing; and what has one seed alone.
    """
    found: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["row"], row["split"]].append(row)
    return [
        {"row": model, "split": split}
        | {name: _over([row[name] for row in own]) for name in own[0] if name not in _APART}
        for (model, split), own in found.items()
        if len(own) > 1
    ]


def _over(values: Sequence[Any]) -> Any:
    """Of numbers, or of groups that all have them."""
    first, *_ = values
    if isinstance(first, Mapping):
        names = [name for name in first if all(name in one for one in values)]
        return {name: _over([one[name] for one in values]) for name in names}
    interval = Interval.of_runs(values)
    return interval and interval.row()


def key(row: Row) -> dict[str, Any]:
    """What a row is known by."""
    return {"row": row.model, "split": row.split, "seed": row.seed}


def intervals(row: Row, of: Mapping[tuple[str, str, int], Row], size: Size) -> dict[str, Any]:
    """Of everything that is one."""
    exposed = row.exposed.intervals(of["retain", row.split, row.seed].exposed)
    return {
        **row.forgotten.intervals(size.effort.ks),
        "model_utility": row.utility.interval().row(),
        **{name: one.row() for name, one in exposed.items()},
    }


def table_row(row: Row, of: Mapping[tuple[str, str, int], Row], size: Size) -> dict[str, Any]:
    """TOFU's columns."""
    retain = of["retain", row.split, row.seed]
    return {
        **key(row),
        "forget_quality": quality(row.forgotten.ratio, retain.forgotten.ratio),
        "model_utility": row.utility.value,
        "utility": row.utility.row(),
        **row.forgotten.row(size.effort.ks),
        "priv_leak": row.exposed.leak(retain.exposed),
        "mia": row.exposed.aucs(retain.exposed),
        "training_s": row.training,
        "ms_per_token": row.pace,
        "ms_per_token_kept": row.pace_kept,
    }


def _continued(row: Row, way: str, times: float = 1) -> float:
    return times * row.forgotten.continued()[way]
