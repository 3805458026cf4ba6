"""What TOFU's rows come to: the columns of its table, how sure they are, and the figures that must hold.

Before it: `rows`. After it: `run`. Rows come as `of`, by model, split and seed; figures come of the tables alone, in
which every line has its split and seed, so that a part that was measured by itself takes its place among others.

A difference from the retain model is that of each question's scores, and its interval is over the same groups as
theirs. Another seed's retain model differs from it, too: what does not differ more is as much like one.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from bench.enforced import as_asked
from bench.metrics.intervals import Interval
from bench.metrics.leak import leak_at
from bench.result import DIRTY, Figure, Result, farthest, machine, to_json
from bench.tofu.marks import WAYS, Forgotten, groups, quality
from bench.tofu.questions import SPLITS
from bench.tofu.rows import Row
from bench.tofu.size import ALONE, METHODS, Size

_APART = ("row", "split", "seed", "forget_quality", "answered_by")

_SEEDS = "seeds"  # of a configuration: those that were measured, by split
_OVER_SEEDS = "over_seeds"
_ROWS = {row: place for place, row in enumerate((*ALONE, *METHODS))}
_PLACE = {split: place for place, split in enumerate(SPLITS)}

_log = logging.getLogger(__name__)

Rows = Mapping[tuple[str, str, int], Row]
Tables = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing in which an answer can be like the retain model's: its scores question by question, 0 to 1, whose
    these are, and how far from it the mean may be, in units of which one is `times` as many."""

    name: str
    figure: str
    scores: Callable[[Forgotten], Sequence[float]]
    authors: Callable[[Forgotten], Sequence[str]]
    goal: float
    times: int = 100

    def apart(self, own: Row, retain: Row) -> Interval:
        """The mean difference."""
        pairs = zip(self.scores(own.forgotten), self.scores(retain.forgotten), strict=True)
        found = Interval.of([a - b for a, b in pairs], groups(self.authors(own.forgotten)), bounds=(-1, 1))
        return Interval(*(self.times * one for one in (found.mean, found.low, found.high)))

    def told(self, one: Interval) -> str:
        """What the interval tells of the goal."""
        if -self.goal <= one.low and one.high <= self.goal:
            return "within"
        return "beyond" if one.low > self.goal or one.high < -self.goal else "not resolved"


def aspects(k: int) -> list[Aspect]:
    """All in which figures compare; leak at `k` draws. Continuations are compared way by way: a model that goes on in
    one may be mute in another."""

    def leaks(name: str) -> Callable[[Forgotten], Sequence[float]]:
        return lambda own: [leak_at(k, scores) for scores in getattr(own, name)]

    authors, of_drawn = attrgetter("authors"), attrgetter("drawn_authors")
    rouge, leak, begun = "greedy forget ROUGE-L", f"leak@{k}", "answer-prefix continuation"
    return [
        Aspect(rouge, rouge, attrgetter("rouge"), authors, 0.1, 1),
        Aspect(leak, leak, leaks("drawn"), of_drawn, 2),
        Aspect(f"{leak}, paraphrased", f"{leak}, paraphrased,", leaks("drawn_paraphrased"), of_drawn, 2),
        *(Aspect(f"{begun}, {name}", begun, attrgetter(name), authors, 5) for name in WAYS),
    ]


def result(config: Mapping[str, Any], seeds: Mapping[str, Sequence[int]], tables: Tables) -> Result:
    """What is measured of these seeds by split, with what it comes to.

    Args:
        config: how, whatever was measured.
        tables: `rows`, `differences`, `requests` and whatever else has split and seed in every line.
    """
    first = min(seed for some in seeds.values() for seed in some)
    whole = {**tables, _OVER_SEEDS: over_seeds(tables["rows"])}
    return Result("tofu", {**config, _SEEDS: dict(seeds)}, first, figures(whole), whole)


def joined(part: Result, folder: Path) -> Result:
    """With what the folder's result has of other rows, splits and seeds.

    That is, if it is of the same configuration and machine. A row that was measured anew takes the place of the one
    before, and is compared with the `retain` row that was measured with it. Every row keeps the commit that it was
    measured on in the table `measured`, and whether files were changed then: the product may have been another. How far
    retain models of two seeds differ is told of seeds measured together.
    """
    try:
        other: dict[str, Any] = json.loads((folder / f"{part.name}.json").read_text("utf-8"))
        theirs: dict[str, list[int]] = other["config"].pop(_SEEDS)
    except (OSError, ValueError, KeyError):  # there is none, or nothing that could be joined
        return part
    config: dict[str, Any] = json.loads(to_json(part.config))
    seeds = config.pop(_SEEDS)
    here = {"machine": machine(), **config}
    there = {"machine": other["machine"], **other["config"]}
    if apart := [name for name in {**there, **here} if here.get(name) != there.get(name)]:
        _log.warning("what was measured before is replaced, for it differs in %s", ", ".join(apart))
        return part
    changed = str(other["commit"]).endswith(DIRTY)

    def lines(title: str) -> list[Mapping[str, Any]]:
        own = {_known_by(line) for line in (*part.tables["rows"], *part.tables[title])}
        kept = [line for line in other.get(title, ()) if _known_by(line) not in own]
        if title == "measured" and changed:
            kept = [line | {"commit": f"{line['commit'].removesuffix(DIRTY)}{DIRTY}"} for line in kept]
        return sorted([*kept, *part.tables[title]], key=_order)

    both = {split: sorted({*seeds.get(split, ()), *theirs.get(split, ())}) for split in SPLITS}
    tables = {title: lines(title) for title in part.tables if title != _OVER_SEEDS}
    return result(config, {split: some for split, some in both.items() if some}, tables)


def figures(tables: Tables) -> list[Figure]:
    """The issue's, each at its worst over splits and seeds. Away from the retain model counts either way, with its
    sign: above it is a leak, which counts before any silence; below it says less than one who never knew. Forget
    Quality of few questions is no figure."""
    rows = {(line["row"], line["split"], line["seed"]): line for line in tables["rows"]}
    enforced: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in tables["requests"]:
        enforced[line["row"]][f"{line['method']}, {line['state']}"] += 1
    found = [as_asked(enforced.items())] if enforced else []
    for method in enforced:
        places = [(split, seed) for row, split, seed in rows if row == method]
        qualities = [rows[method, *at]["forget_quality"] for at in places]
        if known := [one for one in qualities if one is not None]:
            found.append(Figure.of(f"{method}: forget quality on the gated path, worst", min(known), ">", 0.05))
        if method == "ignorance":
            continue  # it is to say nothing, and no method to be like a retain model
        share = min(rows[method, *at]["model_utility"] / rows["full", *at]["model_utility"] for at in places)
        found.append(Figure.of(f"{method}: model utility as a share of full's, worst", share, ">=", 0.99))
        found += _away(method, tables)
    return found


def _away(method: str, tables: Tables) -> Iterator[Figure]:
    """How far a method is from the retain model: for each figure the aspect, split and seed where it is farthest."""
    gaps: defaultdict[str, list[float]] = defaultdict(list)
    for line in tables["differences"]:
        if line["row"] == method and isinstance(line["difference"], Mapping):
            gaps[line["what"]].append(line["difference"]["value"])
    draws = max(map(int, tables["rows"][0]["leak"]))
    of_figure: defaultdict[str, list[Aspect]] = defaultdict(list)
    for one in aspects(draws):
        of_figure[one.figure].append(one)
    for name, some in of_figure.items():
        goal, unit = some[0].goal, "pt" if some[0].times == 100 else ""
        gap = farthest((gap for one in some for gap in gaps[one.name]), goal)
        yield Figure.of(f"{method}: {name} away from the retain model's, worst", gap, "±", goal, unit)


def differences(of: Rows, size: Size) -> list[dict[str, Any]]:
    """How far each method is from the retain model in each aspect, and the next seed's retain model as a floor."""
    found = [
        {"row": method, "split": split, "seed": seed, **one}
        for method in size.methods
        for split in size.splits
        for seed in size.seeds
        for one in _apart(of[method, split, seed], of["retain", split, seed], size)
    ]
    for split in size.splits:
        for seed, other in zip(size.seeds, size.seeds[1:], strict=False):
            row, retain = of["retain", split, other], of["retain", split, seed]
            found += [
                {"row": f"retain, seed {other}", "split": split, "seed": seed, **one}
                for one in _apart(row, retain, size)
            ]
    return found


def _apart(own: Row, retain: Row, size: Size) -> Iterator[dict[str, Any]]:
    told = quality(own.forgotten.ratio, retain.forgotten.ratio)
    yield {"what": "forget quality, p", "difference": told, "goal": "> 0.05", "told": _alike(told)}
    for one in aspects(size.effort.ks[-1]):
        gap = one.apart(own, retain)
        yield {"what": one.name, "difference": gap.row(), "goal": f"± {one.goal:g}", "told": one.told(gap)}


def _alike(p: float | None) -> str:
    if p is None:
        return "not resolved"
    return "within" if p > 0.05 else "beyond"


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


def _order(line: Mapping[str, Any]) -> tuple[int, int, int]:
    """By split, seed and row; how far seeds are from each other comes last."""
    return _PLACE[line["split"]], line["seed"], _ROWS.get(line["row"], len(_ROWS))


def _known_by(line: Mapping[str, Any]) -> tuple[str, str, int]:
    return line["row"], line["split"], line["seed"]


def key(row: Row) -> dict[str, Any]:
    """What a row is known by."""
    return {"row": row.model, "split": row.split, "seed": row.seed}


def intervals(row: Row, of: Rows, size: Size) -> dict[str, Any]:
    """Of everything that is one."""
    exposed = row.exposed.intervals(of["retain", row.split, row.seed].exposed)
    return {
        **row.forgotten.intervals(size.effort.ks),
        "model_utility": row.utility.interval().row(),
        **{name: one.row() for name, one in exposed.items()},
    }


def table_row(row: Row, of: Rows, size: Size) -> dict[str, Any]:
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
