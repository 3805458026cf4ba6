"""What of each benchmark is drawn."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from bench.report.blocks import Picture
from bench.report.charts import Axis, Line, intervals, plane
from bench.report.found import Found, Row
from bench.report.literature import FULL, REPORTED
from gateway.admin.heatmap import heatmap

_UTILITY = "others' correct answers as a share of before, %"
_LEAK = "correct answers above the retain model's, points"
Points = list[tuple[float, float]]


def overview(results: Mapping[str, Found]) -> Iterator[Picture]:
    """All methods that were measured on the demo world in one plane, a point a set of people or a stream."""
    series: dict[str, Points] = {}
    for name, title in (("eco", "ECO, as served"), ("uld", "ULD, as served")):
        if name in results:
            series[title] = [
                (_share(one["retained"]), _excess(one["forgotten"])) for one in results[name].tables.get("sets", ())
            ]
    if "o3" in results:
        series["O3, as served"] = [
            (_share(one["utility"]), one["leak_all_requests"]) for one in results["o3"].tables.get("streams", ())
        ]
    if "uld" in results:
        series["ULD alone, on everything"] = [
            (_share(one["uld_alone"]["retained_under_all_assistants"]), _excess(one["uld_alone"]["forgotten"]))
            for one in results["uld"].tables.get("sets", ())
        ]
    if "o3" in results:
        series["O3 alone, on everything"] = [
            (_share(one["retained_under_all_loras"]), one["leak"]) for one in results["o3"].tables.get("alone", ())
        ]
    if not any(series.values()):
        return
    title = "Forgetting against utility on the demo world"
    said = (
        "Right and low is best. As served: guards, the method and its fallback, which says most of what is touched. "
        "Alone: the method's own leak, and, across, what is left of others' answers when every assistant or LoRA is "
        "forced on them, which no prompt meets."
    )
    drawn = plane(title, said, series, Axis(_UTILITY), Axis(_LEAK), hollow=[name for name in series if "alone" in name])
    yield Picture("forgetting-against-utility", title, said, drawn)


def _share(kept: Row) -> float:
    """Per cent of the correct answers of before."""
    return 100 * float(kept["after"]["value"]) / float(kept["before"])


def _excess(forgotten: Row) -> float:
    """Points above the retain model."""
    return 100 * (float(forgotten["after"]["value"]) - float(forgotten["retain_model"]))


def _eco(found: Found) -> Iterator[Picture]:
    yield from _by_kind(found, "ECO")


def _by_kind(found: Found, method: str) -> Iterator[Picture]:
    """Forgotten and retained people, by kind of question."""
    if rows := found.tables.get("forgotten_by_kind"):
        title = f"{method}: forgotten people, correct answers by kind of question"
        said = "As served, all sets together. Before anything was filed nearly all of these were answered correctly."
        drawn = intervals(title, said, [_line(_kind(row), row["after"]) for row in rows], "correct, %")
        yield Picture(f"{found.name}-forgotten", title, said, drawn)
    if rows := found.tables.get("retained_by_kind"):
        title = f"{method}: everybody else, correct answers by kind of question"
        said = "As served, all sets together, beside what was correct before anything was filed."
        lines = [_line(_kind(row), row["after"], 100 * row["before"]) for row in rows]
        drawn = intervals(title, said, lines, "correct, %", beside="before")
        yield Picture(f"{found.name}-retained", title, said, drawn)


def _kind(row: Row) -> str:
    return str(row["kind"]).replace("_", " ")


def _line(label: str, rate: Row, beside: float | None = None) -> Line:
    """A share in per cent."""
    return Line(label, 100 * rate["value"], 100 * rate["low"], 100 * rate["high"], beside)


def _guard(found: Found) -> Iterator[Picture]:
    rwku = [row for row in found.tables.get("kinds", ()) if row["family"] == "RWKU"]
    for control, what in ((False, "forget probes leaked"), (True, "benign prompts lost")):
        if rows := [row for row in rwku if row["control"] is control]:
            title = f"RWKU: {what}, by kind"
            said = "The omniscient model: what no guard stops is answered with the gold answer."
            drawn = intervals(title, said, [_line(_kind(row), row["failed"]) for row in rows], f"{what}, %")
            yield Picture(f"guard-rwku-{'lost' if control else 'leak'}", title, said, drawn)
    curves: dict[str, Points] = {}
    for row in found.tables.get("thresholds", ()):
        curves.setdefault(row["configuration"], []).append((row["neighbours lost"], row["leak"]))
    if curves:
        title = "RWKU: leak against neighbours lost as thresholds move"
        said = "One round, sampled. Left and low is best. Single points are configurations without a threshold."
        across, up = Axis("neighbours' questions lost, %"), Axis("forget probes leaked, %")
        yield Picture("guard-thresholds", title, said, plane(title, said, curves, across, up, joined=True))


def _uld(found: Found) -> Iterator[Picture]:
    yield from _by_kind(found, "ULD")
    quality: dict[str, Points] = {"ULD": [], "the full model": []}
    for one in found.tables.get("sets", ()):
        if measured := one["uld_alone"].get("forget_quality"):
            quality["ULD"].append((_share(one["retained"]), measured["steered"]))
            quality["the full model"].append((100, measured["full"]))
    if any(quality.values()):
        title = "ULD: forget quality against utility"
        said = (
            "Forget quality is the p-value of a test of truth ratios against the retain model's, a point a set; what "
            "ULD has no plan for is scored under ignorance. The broken lines are goals: 0.05 and 99 %."
        )
        up = Axis("forget quality, p", log=True, goal=0.05)
        drawn = plane(title, said, quality, Axis(_UTILITY, goal=99), up, hollow=["the full model"])
        yield Picture("uld-quality", title, said, drawn)
    cost = [
        (f"in the process, {row['streams']} at once, {row['assistants']} learned", row)
        for row in found.tables.get("local_cost", ())
    ]
    cost += [
        (f"vLLM, {row['steered']['streams']} at once, {row['steered']['assistants']} learned", row["steered"])
        for row in found.tables.get("vllm_cost", ())
        if "steered" in row
    ]
    if cost:
        title = "ULD: what a steered token costs, times an untouched one's"
        said = "Median of alternating rounds on the CPU, with its 95 % interval; 1 is no cost at all."
        lines = [Line(label, row["ratio"], row["low"], row["high"]) for label, row in cost]
        yield Picture("uld-cost", title, said, intervals(title, said, lines, "times an untouched token's"))


def _o3(found: Found) -> Iterator[Picture]:
    streams = found.tables.get("streams", ())
    if streams:
        worst = max(streams, key=lambda one: one["leak_worst_request"])
        yield _persistence(found, worst["seed"], worst["leak_worst_request"])
    if rows := found.tables.get("one_and_many"):
        many = found.config.get("in_force", "many")
        title = f"O3: cost with {many} requests in force, times that with one"
        said = "Median of pairs, with the middle 95 %; 1 is no cost at all."
        lines = [Line(row["what"], row["ratio"], row["low"], row["high"]) for row in rows]
        yield Picture("o3-one-and-many", title, said, intervals(title, said, lines, "times one request's"))


def _persistence(found: Found, seed: int, worst: float) -> Picture:
    """The matrix of a stream: rows of points from the request's own step on."""
    rows, steps = found.tables[f"leak_stream_{seed}"], found.tables[f"steps_stream_{seed}"]
    names = [f"request {row['request']}" for row in rows]
    cells = [[*[None] * (len(rows) - len(row["leak"])), *(one / 100 for one in row["leak"])] for row in rows]
    title = f"O3: leak above the retain model's after each request, stream {seed}"
    said = (
        f"The worst stream: at most {worst:.1f} points on any request (down) after any other (across), "
        "and below them the utility."
    )
    drawn = heatmap(title, said, names, names, cells, [step["utility"] for step in steps])
    return Picture("o3-persistence", title, said, drawn)


def _load(found: Found) -> Iterator[Picture]:
    if rows := found.tables.get("ratios"):
        title = "The gateway beside LiteLLM"
        said = (
            "Alternating rounds on the same cores. 1 is as LiteLLM, and hollow marks are goals; of latency, CPU "
            "and p99 less is better, of answers a second more."
        )
        lines = []
        for row in rows:
            label, _, _ = row["figure"].rpartition(", ")  # what follows is on the axis
            figure = found.figure(row["figure"])
            goal, holds = (float(figure.goal.split()[1]), figure.holds) if figure else (None, True)
            lines.append(Line(label, row["value"], row["low"], row["high"], goal, holds))
        drawn = intervals(title, said, lines, "times LiteLLM's", beside="goal", log=True)
        yield Picture("load-overhead", title, said, drawn)


def _replay(found: Found) -> Iterator[Picture]:
    if rows := [row for row in found.tables.get("sets", ()) if row["set"] == "forget"]:
        title = "Replay of Llama-3.2-1B: ROUGE-L on the forget set, after filing"
        said = "Far less than the model that never learnt is no gain: it tells that something was forgotten."
        lines = [
            Line(f"{row['split']}, by {row['filed']}", row["after"], row["low"], row["high"], row.get("retain_model"))
            for row in rows
        ]
        drawn = intervals(title, said, lines, "ROUGE-L recall", beside="the model that never learnt")
        yield Picture("replay-forget", title, said, drawn)


def _tofu(found: Found) -> Iterator[Picture]:
    """Of a table `rows` with split, seed, row, forget_quality and model_utility, beside what others report."""
    told = {"split", "forget_quality", "model_utility"}
    rows = [row for row in found.tables.get("rows", ()) if all(row.get(key) is not None for key in told)]
    whole = {(row["split"], row.get("seed")): row["model_utility"] for row in rows if row["row"] == "full"}
    for split in dict.fromkeys(split for split, _ in whole):
        series: dict[str, Points] = {}
        for row in rows:
            if row["split"] == split:
                share = row["model_utility"] / whole[split, row.get("seed")]
                series.setdefault(row["row"], []).append((share, row["forget_quality"]))
        theirs: dict[str, Points] = {}
        for one in REPORTED:
            if one.setting == f"{split}, Llama-2-7B" and one.values.get("FQ") is not None:
                theirs.setdefault(f"{one.row}, reported", []).append((one.values["MU"] / FULL, one.values["FQ"]))
        title = f"TOFU {split}: forget quality against model utility"
        said = (
            "Right and high is best. Utility is a share of that of the same model before anything was forgotten. "
            "Hollow: what others report of Llama-2-7B, another model than ours."
        )
        up = Axis("forget quality, p", log=True, goal=0.05)
        drawn = plane(title, said, series | theirs, Axis("share of full model utility"), up, hollow=theirs)
        yield Picture(f"tofu-{split}", title, said, drawn)


def _leak(found: Found) -> Iterator[Picture]:
    """Of a table `curves` with row, k and value."""
    curves: dict[str, Points] = {}
    for row in found.tables.get("curves", ()):
        curves.setdefault(row["row"], []).append((row["k"], row["value"]))
    if curves:
        title = "leak@k: the expected best of k answers at temperature 1"
        said = "Low is best, down to the retain model, which has nothing to tell."
        across = Axis("answers, k", log=True)
        drawn = plane(title, said, curves, across, Axis("leak@k"), joined=True)
        yield Picture("leak-curves", title, said, drawn)


def _muse(found: Found) -> Iterator[Picture]:
    """Of tables `scalability` and `sustainability`, a row a method, seed and step: the mean of all seeds."""
    ways = (
        ("scalability", "share", "leak", 100, "as more people are forgotten", "forgotten of all people, %"),
        ("sustainability", "forgotten", "leak_of_first", 1, "of the first request as others follow", "requests so far"),
    )
    for table, across, up, times, what, said_across in ways:
        leaks: dict[str, dict[float, list[float]]] = {}
        for row in found.tables.get(table, ()):
            leaks.setdefault(row["row"], {}).setdefault(times * row[across], []).append(row[up])
        series = {name: [(at, fmean(some)) for at, some in points.items()] for name, points in leaks.items()}
        if series:
            title = f"MUSE, {table}: leak {what}"
            said = "Mean of all sequences. Low is best, down to the model that never heard of them, at 0."
            drawn = plane(title, said, series, Axis(said_across), Axis(_LEAK), joined=True)
            yield Picture(f"muse-{table}", title, said, drawn)


_DRAWN: Mapping[str, Callable[[Found], Iterator[Picture]]] = {
    "eco": _eco,
    "guard": _guard,
    "leak": _leak,
    "load": _load,
    "muse": _muse,
    "o3": _o3,
    "replay": _replay,
    "tofu": _tofu,
    "uld": _uld,
}


def pictures(found: Found) -> Sequence[Picture]:
    """All of a benchmark; none where it has nothing to draw."""
    return list(_DRAWN[found.name](found)) if found.name in _DRAWN else []
