import pytest

from bench.report.blocks import Bad, Table, Text
from bench.report.found import Found, read
from bench.report.literature import BESIDE, ENCODER, REPORTED, SOURCES
from bench.report.summary import named, summary
from bench.result import RESULTS, Figure
from bench.tofu.questions import SPLITS
from bench.tofu.size import ALONE, METHODS


def table(section, title):
    return next((block for block in section.blocks if isinstance(block, Table) and block.title == title), None)


def texts(section):
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


def test_what_failed_stands_first(stream):
    missed, _, _ = summary({"o3": Found.of(stream)})
    assert "0 of 1 figures hold. 1 do not." in texts(missed)
    assert table(missed, "Figures that missed their goal").rows == [("o3", "leak", "5 pt", "<= 2")]


def test_what_is_missed_without_a_leak_stands_apart(stream):
    goal = {"unit": "pt", "goal": "± 2", "holds": False}
    figures = [{"name": "o3: leak@128", "value": -20.5, **goal}, {"name": "uld: leak@128", "value": 7.5, **goal}]
    missed, _, _ = summary({"o3": Found.of(stream | {"figures": figures})})
    assert table(missed, "Figures that missed their goal").rows == [("o3", "uld: leak@128", "7.5 pt", "± 2")]
    below = table(missed, "Says less than a model that never learnt it")
    assert below.rows == [("o3", "o3: leak@128", "-20.5 pt", "± 2")]
    assert isinstance(below.rows[0][2], Bad)


def test_haste_and_changes_in_no_commit_are_said(stream):
    stream["config"]["quick"] = True
    stream["commit"] += "-dirty"
    missed, _, _ = summary({"o3": Found.of(stream)})
    assert "Measured quickly" in texts(missed)
    assert "in no commit yet: o3" in texts(missed)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"seeds": {"forget01": [0, 1, 2]}}, "forget01 with seeds 0, 1, 2"),
        ({"seeds": {"forget01": [0, 1, 2], "forget05": [0]}}, "forget01 with seeds 0, 1, 2; forget05 with seed 0"),
        ({"seeds": {split: [0, 1, 2] for split in SPLITS}}, ""),
        ({"seeds": {"forget01": [0]}, "quick": True}, ""),
        ({"seeds": {"forget10": [0]}, "recipe": {"full": "f", "retain": {}}}, "forget10"),
        ({"seeds": {split: [0] for split in SPLITS}, "recipe": {"full": "f"}}, ""),
    ],
)
def test_a_part_is_said_to_be_one(stream, config, part):
    rows = [
        {"row": row, "split": split, "seed": seed}
        for split, seeds in config["seeds"].items()
        for seed in seeds
        for row in (*ALONE, *METHODS)
    ]
    found = Found.of(stream | {"name": "tofu", "config": config, "streams": [], "rows": rows})
    assert found.part == part
    missed, _, _ = summary({"tofu": found})
    assert (f"Measured in part: tofu ({part})." in texts(missed)) is bool(part)


def test_rows_that_a_split_lacks_are_named(stream):
    config = {"seeds": {split: [0, 1, 2] for split in SPLITS}}
    rows = [
        {"row": row, "split": split, "seed": seed}
        for split in SPLITS
        for seed in (0, 1, 2)
        for row in (*ALONE, *METHODS)
        if (row, split) not in (("npo", "forget10"), ("uld", "forget10"))
        and (row, split, seed) != ("o3", "forget05", 1)
    ]
    part = Found.of(stream | {"name": "tofu", "config": config, "rows": rows}).part
    assert part.split("; ") == [
        "forget01 with seeds 0, 1, 2",
        "forget05 with seeds 0, 1, 2, without o3",
        "forget10 with seeds 0, 1, 2, without npo, uld",
    ]


@pytest.mark.parametrize(("config", "part"), [({"sets": 1}, "1 of 3 sets"), ({"sets": 3}, ""), ({}, "")])
def test_some_sets_of_people_are_a_part_too(stream, config, part):
    assert Found.of(stream | {"name": "muse", "config": config}).part == part
    assert Found.of(stream | {"name": "muse", "config": config | {"quick": True}}).part == ""


def test_what_is_worse_than_others_is_apart_from_what_is_not(stream):
    better_and_worse = ("CPU per streamed request, share of", "whole answers a second at saturation, times")
    figures = [
        {"name": f"{name} LiteLLM's", "value": 0.5, "unit": "", "goal": "", "holds": True} for name in better_and_worse
    ]
    load = stream | {"name": "load", "figures": figures}
    _, beside, _ = summary({"load": Found.of(load)})
    (worse,) = table(beside, "Worse").rows
    (better,) = table(beside, "Not worse").rows
    assert worse[1].startswith("whole answers")
    assert isinstance(worse[2], Bad)
    assert better[1].startswith("CPU")
    assert "not known" in texts(beside)


def test_forget_quality_on_tofu_stands_beside_that_of_the_same_method(stream):
    rows = [
        {"split": split, "row": row, "seed": int(quality == 0.4), "forget_quality": quality, "model_utility": 0.6}
        for split, row, quality in (
            ("forget10", "uld", 0.9),
            ("forget10", "uld", 0.4),
            ("forget05", "uld", 0.8),
            ("forget01", "uld", None),  # of few questions
            ("forget10", "npo", 0.5),
            ("forget10", "full", 1e-30),
            ("forget10", "eco", 0.1),
        )
    ]
    seeds = {"forget01": [0], "forget05": [0], "forget10": [0, 1]}
    requests = [{"split": "forget10", "row": "uld", "method": method} for method in ("ignorance", "uld", "uld")]
    found = Found.of(stream | {"name": "tofu", "rows": rows, "requests": requests, "config": {"seeds": seeds}})
    _, beside, _ = summary({"tofu": found})
    (worse,) = table(beside, "Worse").rows
    assert worse[1:4] == ("forget10: ULD, Forget Quality", "0.4", "0.52")
    assert "ours the worst of seeds 0, 1, and 1 of 3 requests are enforced by another method" in worse[-1]
    assert [row[1:4] for row in table(beside, "Not worse").rows] == [
        ("forget05: ULD, Forget Quality", "0.8", "0.73"),
        ("forget10: NPO, Forget Quality", "0.5", "0.42"),
    ]
    assert "not known" not in texts(beside)


def test_what_is_absent_is_said_to_be(stream):
    _, _, absent = summary({"o3": Found.of(stream)})
    names = [row[0] for row in table(absent, "Absent").rows]
    assert "o3" not in names
    assert {"tofu", "leak", "muse", "wmdp"} <= set(names)
    assert "heat map" not in texts(absent)
    assert "heat map" in texts(summary({})[2])


def test_a_figure_that_is_the_same_says_of_what():
    figures = [Figure(name, 1, "", "", holds=True) for name in ("leak", "the same alone", "the same twice", "utility")]
    assert [one.name for one in named(figures)] == ["leak", "leak: the same alone", "leak: the same twice", "utility"]


def test_every_source_is_named():
    assert {ENCODER, *(one.source for one in (*BESIDE, *REPORTED))} == set(SOURCES)


@pytest.mark.parametrize("one", BESIDE, ids=lambda one: one.figure)
def test_figures_of_comparisons_are_those_that_harnesses_write(one):
    results = read(RESULTS)
    if one.benchmark not in results:
        pytest.skip(f"{one.benchmark} was not measured")
    assert results[one.benchmark].figure(one.figure)


def test_a_priv_leak_above_nought_is_no_leak(stream):
    goal = {"unit": "%", "goal": "± 5", "holds": False}
    figures = [{"name": f"{name}: PrivLeak", "value": value, **goal} for name, value in (("eco", -97.0), ("o3", 180.0))]
    missed, _, _ = summary({"muse": Found.of(stream | {"name": "muse", "figures": figures})})
    assert [row[1] for row in table(missed, "Figures that missed their goal").rows] == ["eco: PrivLeak"]
    assert [row[1] for row in table(missed, "Says less than a model that never learnt it").rows] == ["o3: PrivLeak"]


def test_a_set_that_leaks_is_not_hidden_behind_one_that_says_too_little(stream):
    figures = [{"name": "eco: PrivLeak, worst set", "value": 180.0, "unit": "%", "goal": "± 5", "holds": False}]
    sets = [{"row": "eco", "seed": i, "priv_leak": {"value": one}} for i, one in enumerate((180.0, -97.0))]
    missed, _, _ = summary({"muse": Found.of(stream | {"name": "muse", "figures": figures, "sets": sets})})
    over = table(missed, "Figures that missed their goal")
    assert over.rows == [("muse", "eco: PrivLeak, worst set", "-97 %", "± 5")]
    assert table(missed, "Says less than a model that never learnt it") is None


@pytest.fixture
def guard(stream):
    """Two kinds of probes, and the guards beside the plain encoder."""
    shares = {"told": (0.25, False), "kept": (0.01, True), "lost": (0.5, True)}
    kinds = [
        {
            "family": "RWKU",
            "kind": kind,
            "control": control,
            "failed": {"hits": 100 * share, "of": 100, "value": share, "low": 0.0, "high": 1.0},
        }
        for kind, (share, control) in shares.items()
    ]
    rows = [
        {"family": "RWKU", "configuration": name, "scale": scale, "leak": leak, "worst type": None, "others lost": lost}
        for name, scale, leak, lost in (
            ("full", 1.0, 3.0, 2.0),
            ("full", 0.5, 1.0, 9.0),
            ("names or max cosine", 1.0, 2.5, 6.0),
        )
    ]
    return Found.of(stream | {"name": "guard", "kinds": kinds, "configurations": rows})


def test_kinds_that_often_fail_are_told_whether_or_not_they_have_a_figure(guard):
    missed, _, _ = summary({"guard": guard})
    assert [row[2:4] for row in table(missed, "Kinds that fail most").rows] == [("lost", "lost"), ("told", "told")]


def test_the_guards_stand_beside_a_plain_encoder_of_the_same_run(guard):
    _, beside, _ = summary({"guard": guard})
    assert [row[1:4] for row in table(beside, "Worse").rows] == [("RWKU: leak", "3 %", "2.5 %")]
    assert [row[1:4] for row in table(beside, "Not worse").rows] == [("RWKU: others lost", "2 %", "6 %")]


def test_what_was_skipped_or_measured_in_part_was_not_measured(stream):
    found = Found.of(stream | {"name": "muse", "config": {"sets": 1}, "given_model": [{"skipped": "none is named"}]})
    _, _, absent = summary({"muse": found})
    assert [row[1:] for row in table(absent, "Left out").rows] == [
        ("all but a part", "measured: 1 of 3 sets"),
        ("given model", "none is named"),
    ]
