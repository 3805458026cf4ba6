"""What a reader has to know first: what failed, what is worse than what others do, what was not measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bench.report.blocks import Bad, Block, Section, Table, Text
from bench.report.cells import known, number, rate
from bench.report.found import Found, listed
from bench.report.literature import (
    BESIDE,
    ENCODER,
    PLAIN,
    PLAIN_COLUMNS,
    RELEASED,
    REPORTED,
    SERVED,
    SOURCES,
    Beside,
)
from bench.result import Figure

ABOUT: Mapping[str, tuple[str, str]] = {
    "eco": (
        "The main job, by ECO",
        "Five made-up people forgotten on the demo model, through a gateway process, against a model that never "
        "heard of them; shields, restart, memory.",
    ),
    "uld": (
        "ULD",
        "The same by ULD: five made-up people, forget quality, what a token costs, and questions to which any of many "
        "answers drawn is right, which is more than leak@k counts. How deep ULD steps was chosen after a look at set "
        "1.",
    ),
    "o3": (
        "O3",
        "Twenty forget requests one after another on the demo model: what leaks after each, one taken back, what many "
        "cost. Of a detector, `union` is its AUROC with all requests in force, `missed` the share of own prompts below "
        "every weight, `loaded` that of everybody else's prompts given a LoRA.",
    ),
    "guard": (
        "Guards on real text",
        "Every probe counted under the omniscient model, which answers all that no guard stops. What the sets and "
        "columns are is in docs/guard-benchmark.md.",
    ),
    "load": (
        "Under load",
        "Beside LiteLLM's proxy on the same cores, ECO and the clock before a real vLLM, a soak; see docs/load.md.",
    ),
    "replay": (
        "Replay of a real model",
        "Logged answers of a Llama-3.2-1B that learnt TOFU, said again behind the gateway. Weights of the guards were "
        "set while looking at forget10, and at authors 0 to 19.",
    ),
    "tofu": (
        "TOFU",
        "TOFU's questions and metrics on our own models, Llamas of 4.5 million parameters trained from scratch, not on "
        "a pretrained one: they were taught the real authors and the world facts by the very questions that Model "
        "Utility asks, so theirs is near 0.91 and can be compared among our rows alone. Likelihoods (Probability, "
        "Truth Ratio, Forget Quality, Extraction Strength, PrivLeak) are of the plan that a prompt gets; answers "
        "(ROUGE; leak@k, the best ROUGE-L of k answers; continuations) are what a client is served, which is often "
        "ignorance's sentence in the place of the method's own words. NPO is one recipe, untuned, without Model "
        "Utility's questions among those that it may keep. ULD's depth and O3's loss were chosen on the first author "
        "of forget01, seed 0; that its assistants have two blocks where one was too little, on what failed with seeds "
        "1 and 2 and the first author of forget05; weights of the guards while looking at forget10 and authors 0 to "
        "19, of whom many kept questions are. Which blocks a row's have, and on which commit it was measured, say the "
        "tables `methods` and `measured`. Rows were measured hours apart with other work beside: milliseconds a token "
        "do not compare, and what a retain model's training takes is not counted.",
    ),
    "leak": (
        "leak@k and dynamic probes",
        "On the demo world: leak@k, the chance that the best of k answers says the fact, and probes from the world's "
        "graph, each with a twin about somebody who is not forgotten (`control`). Of a mixed question `beside` is the "
        "other half, which need not be forgotten, and `beside control` the same beside the twin. Intervals of shares "
        "are of more probes about the same people, those of leak@k of other people.",
    ),
    "muse": (
        "MUSE's six ways, on the demo world",
        "Verbatim, knowledge, privacy, utility, scalability, sustainability; the texts are about made-up people. "
        "PrivLeak below nought: what was told about them is still known; above: less than by one who never met them. "
        "It is of answers as they were taught, which begin with the name that a method hides in the prompt. "
        "Intervals of knowledge are of more questions about the same people. "
        "MUSE's own corpora are asked of a model that is given.",
    ),
    "wmdp": (
        "WMDP's form, on the demo world",
        "Questions with four options about a topic of the demo world and about everything else, through EleutherAI's "
        "lm-evaluation-harness as a client of the gateway. Four of five answers that are counted below are "
        "likelihoods, which ignorance gives whatever the method. WMDP and MMLU themselves were not asked: no model "
        "here could answer them.",
    ),
}


def summary(results: Mapping[str, Found]) -> Sequence[Section]:
    """The top of the report."""
    return [
        Section("What missed its goal", list(_missed(results))),
        Section("What is worse than others, or than a plain encoder", list(_worse(results))),
        Section("What was not measured", list(_absent(results))),
    ]


def _ordered(results: Mapping[str, Found]) -> Sequence[Found]:
    """As the report has them."""
    return [results[name] for name in ordered(results)]


def ordered(results: Mapping[str, Found]) -> Sequence[str]:
    """The names of all results: those known here first, in their order."""
    return [*(name for name in ABOUT if name in results), *sorted(set(results) - set(ABOUT))]


def named(figures: Sequence[Figure]) -> Sequence[Figure]:
    """The same figures, each by a name that can stand alone: "the same …" says of what."""
    found: list[Figure] = []
    of = ""
    for one in figures:
        if one.name.startswith("the same"):
            found.append(replace(one, name=f"{of}: {one.name}"))
        else:
            of = one.name
            found.append(one)
    return found


def shown(figure: Figure) -> str:
    """A figure's value with its unit."""
    value = f"{figure.value:g}" if known(figure.value) else number(figure.value)
    return f"{value} {figure.unit}".strip()


def _missed(results: Mapping[str, Found]) -> Iterator[Block]:
    figures = [(found, one) for found in _ordered(results) for one in named(found.figures)]
    missed = [(found, one) for found, one in figures if not one.holds]
    if not figures:
        yield Text("Nothing was measured.")
        return
    yield Text(
        f"{len(figures) - len(missed)} of {len(figures)} figures hold. {len(missed)} do not. Figures are goals that "
        "were set before, and several may be of one thing: how many hold is no score."
    )
    if open_ := sum(one.holds and not found.resolved(one) for found in results.values() for one in found.figures):
        yield Text(
            f"Of those that hold, {open_} differ from the retain model by an interval that reaches beyond the goal: "
            "not resolved. Other figures are not judged by their intervals, which stand in the tables."
        )
    below = [(found, one) for found, one in missed if _says_less(one) and not _hides_a_leak(found, one)]
    if over := [one for one in missed if one not in below]:
        yield _misses("Figures that missed their goal", [(found, _worst(found, one)) for found, one in over])
    if below:
        yield Text(
            "The next are missed on the other side. Where they are worst they are no leaks: less is said than a model "
            "says that never learnt what was filed, and by that it may be noticed that something is missing."
        )
        yield _misses("Says less than a model that never learnt it", below)
    if worst := list(_worst_kinds(results)):
        yield Text(
            "What an operator will meet, whether or not a figure counts it: kinds of probes of which the guards fail "
            "at least one in twenty. What is `told` should have been stopped; what is `lost` should not."
        )
        yield Table("Kinds that fail most", ("benchmark", "set", "kind", "what", "share"), worst)
    if quick := [found.name for found in _ordered(results) if found.quick]:
        yield Text(f"Measured quickly, with fewer seeds and probes than a figure should rest on: {', '.join(quick)}.")
    if parts := [f"{found.name} ({found.part})" for found in _ordered(results) if found.part]:
        yield Text(f"Measured in part: {', '.join(parts)}.")
    if dirty := [found.name for found in _ordered(results) if found.dirty]:
        yield Text(f"Measured on a tree with changes that were in no commit yet: {', '.join(dirty)}.")


def _says_less(one: Figure) -> bool:
    """Whether it is missed on that side where nothing leaks; PrivLeak's is the other one."""
    return one.goal.startswith("±") and (one.value > 0 if "PrivLeak" in one.name else one.value < 0)


def _hides_a_leak(found: Found, figure: Figure) -> bool:
    """Whether the worst of sets says too little, and another set leaks beyond the goal."""
    leak = found.leaks(figure) if figure.goal.startswith("±") and figure.value > 0 else 0.0
    return leak < 0 and leak < -float(figure.goal.removeprefix("± "))


def _worst(found: Found, figure: Figure) -> Figure:
    return replace(figure, value=found.leaks(figure)) if _hides_a_leak(found, figure) else figure


def _worst_kinds(results: Mapping[str, Found]) -> Iterator[Sequence[str]]:
    """Of the guards' probes, by the share that fails."""
    kinds = results["guard"].tables.get("kinds", ()) if "guard" in results else ()
    for row in sorted(kinds, key=lambda row: -float(row["failed"]["value"])):
        if row["failed"]["value"] >= _OFTEN:
            yield "guard", row["family"], row["kind"], "lost" if row["control"] else "told", Bad(rate(row["failed"]))


def _misses(title: str, missed: Sequence[tuple[Found, Figure]]) -> Table:
    rows = [(found.name, one.name, Bad(shown(one)), one.goal) for found, one in missed]
    return Table(title, ("benchmark", "figure", "value", "goal"), rows)


_OFTEN = 0.05

_HEADS = ("benchmark", "figure", "ours", "theirs", "better", "whose", "what differs")
_OURS = _HEADS.index("ours")


def _worse(results: Mapping[str, Found]) -> Iterator[Block]:
    beside = filter(None, (_beside(one, results) for one in BESIDE))
    worse: list[Sequence[str]] = []
    not_worse: list[Sequence[str]] = []
    for row in (*beside, *_plainly(results), *_qualities(results)):
        (worse if isinstance(row[_OURS], Bad) else not_worse).append(row)
    if worse:
        yield Text("The last column says in what the two differ; whose they are is said below the tables.")
        yield Table("Worse", _HEADS, worse)
    else:
        yield Text("Nothing of what could be compared.")
    if not_worse:
        yield Table("Not worse", _HEADS, not_worse)
    yield Table("Whose", ("whose", "what"), list(SOURCES.items()))
    yield from _rows_of_others(results)


def _beside(one: Beside, results: Mapping[str, Found]) -> Sequence[str] | None:
    """A row of the comparison; None where ours was not measured."""
    figure = results[one.benchmark].figure(one.figure) if one.benchmark in results else None
    if figure is None:
        return None
    ours, theirs = shown(figure), shown(replace(figure, value=one.theirs))
    marked = _marked(ours, one.worse(figure.value))
    return (one.benchmark, one.figure, marked, theirs, one.better, one.source, one.differs)


def _marked(ours: str, worse: bool) -> str:
    return Bad(ours) if worse else ours


def _plainly(results: Mapping[str, Found]) -> Iterator[Sequence[str]]:
    """The guards as they are served beside the plain encoder."""
    rows = results["guard"].tables.get("configurations", ()) if "guard" in results else ()
    by = {(row["family"], row["configuration"]): row for row in rows if row["scale"] == 1}
    for family, configuration in by:
        if configuration == SERVED and (plain := by.get((family, PLAIN))):
            for column in PLAIN_COLUMNS:
                ours, theirs = by[family, SERVED].get(column), plain.get(column)
                if ours is not None and theirs is not None:
                    marked = _marked(f"{number(ours)} %", ours > theirs)
                    yield "guard", f"{family}: {column}", marked, f"{number(theirs)} %", "less", ENCODER, "nothing"


def _qualities(results: Mapping[str, Found]) -> Iterator[Sequence[str]]:
    """Forget Quality on TOFU of methods that others report, too, under whatever case: the lowest of all seeds."""
    if "tofu" not in results:
        return
    tables = results["tofu"].tables
    for one in REPORTED:
        split, _, model = one.setting.partition(", ")
        own = (split, one.row.casefold())
        qualities = {
            row["seed"]: row["forget_quality"]
            for row in tables.get("rows", ())
            if (row["split"], row["row"].casefold()) == own and row.get("forget_quality") is not None
        }  # it is not told of few questions
        if not qualities or "FQ" not in one.values or one.source == RELEASED:  # bare models are no method
            continue
        ours, theirs = min(qualities.values()), one.values["FQ"]
        by = [line["method"] for line in tables.get("requests", ()) if (line["split"], line["row"]) == own]
        fell = sum(method != own[1] for method in by)
        differs = f"theirs on {model}; ours the worst of {listed([*qualities])}" + (
            f", and {fell} of {len(by)} requests are enforced by another method" if fell else ""
        )
        name = f"{split}: {one.row}, Forget Quality"
        yield "tofu", name, _marked(number(ours), ours < theirs), number(theirs), "more", one.source, differs


def _rows_of_others(results: Mapping[str, Found]) -> Iterator[Block]:
    """Tables of others, whole, and whether there is anything of ours to put beside them."""
    if missing := sorted({one.benchmark for one in REPORTED} - set(results)):
        names = ", ".join(f"`{name}`" for name in missing)
        yield Text(
            f"The rows below, which others report, are of benchmarks not measured here yet ({names}): "
            "whether Lethe is better or worse than they is not known."
        )
    columns = list(dict.fromkeys(column for one in REPORTED for column in one.values))
    rows = [
        (one.setting, one.row, *(number(one.values[key]) if key in one.values else "" for key in columns), one.source)
        for one in REPORTED
    ]
    yield Table("What others report", ("setting", "row", *columns, "source"), rows, folded=True)


def _absent(results: Mapping[str, Found]) -> Iterator[Block]:
    rows = [(name, *about) for name, about in ABOUT.items() if name not in results]
    if rows:
        yield Text("These have no result in `bench/results` at this commit; nothing below rests on them.")
        yield Table("Absent", ("benchmark", "title", "what it would say"), rows)
    if "leak" not in results:
        yield Text("leak@k on the demo world is absent with `leak`.")
    if "tofu" not in results:
        yield Text("Forget Quality and Model Utility on TOFU are absent with `tofu`; that of ULD is on the demo world.")
    if "o3" not in results:
        yield Text("Persistence over a sequence of requests, and its heat map, are absent with `o3`.")
    left = [(found.name, what, why) for found in _ordered(results) for what, why in _left_out(found)]
    if left:
        yield Table("Left out", ("benchmark", "what", "why"), left)
    if not rows and not left:
        yield Text("Every benchmark there is has a result, and none is of a part.")


def _left_out(found: Found) -> Iterator[tuple[str, str]]:
    """What a result does not say of all that its benchmark would."""
    if found.part:
        yield "all but a part", f"measured: {found.part}"
    yield from found.skipped
