import json
from dataclasses import asdict, replace

import pytest

import bench.tofu.figures
from bench.metrics.intervals import Interval
from bench.tofu.exposure import Exposed
from bench.tofu.figures import (
    aspects,
    differences,
    figures,
    intervals,
    joined,
    key,
    over_seeds,
    result,
    table_row,
)
from bench.tofu.marks import Forgotten, Known, Utility
from bench.tofu.rows import Learnt, Row
from bench.tofu.size import Effort, Size

SIZE = Size(("forget01",), (0, 1), methods=("ignorance", "uld"), effort=Effort(drawn=1, draws=2, paced=1))


N = 40


def row(model, seed, *, level, ability=0.8, bare=None, asked=0.0, state="enforced", items=N):
    """A subject that gets `level` of everything that was to be forgotten."""
    many, some = tuple(level + i / 1000 for i in range(items)), (level,) * items
    authors = tuple(f"{i // 5}" for i in range(items))
    known = Known(("a",), (ability,), (ability,), (1 - ability,))
    ways = ((level if bare is None else bare,) * items, (asked,) * items, (0.0,) * items)
    leaks = (some[:2],), (some[:2],), authors[:1]
    forgotten = Forgotten(authors, some, many, some, some, some, some, *ways, *leaks, (model, "ignorance"))
    scores = dict.fromkeys(("loss", "min_k"), many)
    requests = (Learnt(model, state, 2.0, 1.0, 0, None),) if model in SIZE.methods else ()
    exposed = Exposed(authors, scores, authors, scores)
    return Row(model, "forget01", seed, Utility(known, known, known), forgotten, exposed, 1.0, 1.0, 2.0, requests)


def rows(**of_uld):
    made = [
        row(model, seed, level=0.3 if model != "full" else 0.9)
        for model in ("full", "retain", "ignorance")
        for seed in (0, 1)
    ]
    made += [row("uld", 0, level=0.3), row("uld", 1, **{"level": 0.3, **of_uld})]
    return {(one.model, one.split, one.seed): one for one in made}


def tables(of, size=SIZE):
    return {
        "rows": [table_row(one, of, size) for one in of.values()],
        "differences": differences(of, size),
        "requests": [key(one) | asdict(learnt) for one in of.values() for learnt in one.requests],
        "measured": [key(one) | {"commit": "abc"} for one in of.values()],
    }


def found(**of_uld):
    return {one.name.removeprefix("uld: "): one for one in figures(tables(rows(**of_uld)))}


def test_who_is_like_the_retain_model_holds_every_figure():
    assert all(one.holds for one in found().values())
    assert len(found()) == 8  # of ignorance, which says nothing, forget quality alone
    assert "ignorance: forget quality on the gated path, worst" in found()


@pytest.mark.parametrize(("level", "sign"), [(0.9, 1), (0.1, -1)])
def test_the_worst_seed_counts_and_silence_is_told_from_leaking(level, sign):
    made = found(level=level)
    assert not made["forget quality on the gated path, worst"].holds
    for name in ("greedy forget ROUGE-L", "leak@2", "leak@2, paraphrased,", "answer-prefix continuation"):
        one = made[f"{name} away from the retain model's, worst"]
        assert (one.holds, one.value * sign > 0) == (False, True), name


def test_differences_tell_how_sure_they_are_and_what_another_seed_makes():
    of = rows(level=0.9)
    told = {(one["row"], one["seed"], one["what"]): one for one in differences(of, SIZE)}
    assert told["uld", 0, "greedy forget ROUGE-L"]["difference"]["value"] == 0
    rouge = told["uld", 1, "greedy forget ROUGE-L"]
    assert rouge["difference"]["value"] == pytest.approx(0.6)
    assert (rouge["told"], rouge["goal"]) == ("beyond", "± 0.1")
    leak = told["uld", 1, "leak@2"]
    assert (leak["difference"]["value"], leak["told"]) == (pytest.approx(60), "not resolved")  # it is one question
    assert told["uld", 1, "forget quality, p"]["told"] == "beyond"
    assert told["retain, seed 1", 0, "leak@2"]["difference"]["value"] == 0
    assert {one["row"] for one in told.values()} == {"ignorance", "uld", "retain, seed 1"}


def test_what_scatters_around_the_goal_is_not_resolved():
    (rouge, *_) = aspects(2)
    assert [rouge.told(Interval(mean, mean - 0.05, mean + 0.05)) for mean in (0.0, 0.08, 0.2, -0.2)] == [
        "within",
        "not resolved",
        "beyond",
        "beyond",
    ]


def test_utility_is_a_share_of_that_of_the_model_that_knows():
    made = found(ability=0.76)
    assert made["model utility as a share of full's, worst"].value == pytest.approx(0.95)
    assert not made["model utility as a share of full's, worst"].holds


def test_a_leak_in_one_way_is_not_hidden_by_silence_in_another():
    made = found(bare=0.0, asked=0.25)  # the retain model goes on with 0.3 of bare text and nothing of the other
    assert made["answer-prefix continuation away from the retain model's, worst"].value == pytest.approx(25)
    made = found(bare=0.0, asked=0.04)  # within the goal
    assert made["answer-prefix continuation away from the retain model's, worst"].value == pytest.approx(-30)


def test_a_request_that_another_method_enforces_is_told():
    assert found()["requests enforced by the method asked for, of all"].value == 1
    of = rows()
    (held,) = of["uld", "forget01", 1].requests
    of["uld", "forget01", 1] = replace(of["uld", "forget01", 1], requests=(held, held, replace(held, state="failed")))
    missed, *_ = figures(tables(of))  # one of six, though one of three in a row of four
    assert (missed.name, missed.value, missed.holds) == (
        "requests enforced by the method asked for, of all",
        pytest.approx(5 / 6, abs=1e-4),
        False,
    )


def test_forget_quality_of_few_questions_is_no_figure():
    few = {key: row(one.model, one.seed, level=0.3, items=20) for key, one in rows().items()}
    assert not [one.name for one in figures(tables(few)) if "quality" in one.name]
    assert table_row(few["uld", "forget01", 0], few, SIZE)["forget_quality"] is None


def test_a_row_tells_who_enforced_and_under_which_plans_answers_were_scored():
    assert replace(row("uld", 0, level=0.3), answered={"uld": 3, "ignorance": 4}).methods() == {
        "enforced_by": {"uld, enforced": 1},
        "answered_by": {"uld": 3, "ignorance": 4},
        "scored_by": {"uld": 1, "ignorance": 1},
    }


def test_everything_that_is_a_mean_has_an_interval():
    of = rows()
    told = intervals(of["uld", "forget01", 0], of, SIZE)
    assert told["over"] == "authors"
    for name in ("probability", "bare", "model_utility", "AUC loss", "AUC reference", "PrivLeak"):
        assert set(told[name]) == {"value", "low", "high"}, name
    assert set(told["leak"]) == {"1", "2"}
    assert table_row(of["uld", "forget01", 0], of, SIZE)["model_utility"] == pytest.approx(
        told["model_utility"]["value"]
    )


def test_seeds_have_an_interval_where_there_are_several():
    of = rows(bare=0.5)
    columns = [table_row(one, of, SIZE) for one in of.values()]
    told = {one["row"]: one for one in over_seeds(columns)}
    assert told["full"]["rouge"] == pytest.approx({"value": 0.9, "low": 0.9, "high": 0.9})
    uld = told["uld"]["bare"]  # 0.3 and 0.5
    assert uld["value"] == pytest.approx(0.4)
    assert uld["low"] < 0.3 < 0.5 < uld["high"]
    assert set(told["uld"]["leak"]) == {"1", "2"}
    assert "forget_quality" not in told["uld"]
    assert over_seeds(columns[:1]) == []


def part(split, seeds, commit, methods=SIZE.methods, **of_uld):
    """A result of one split alone."""
    size = replace(SIZE, splits=(split,), seeds=seeds, methods=methods)
    of = {
        (one.model, split, one.seed): replace(one, split=split)
        for one in rows(**of_uld).values()
        if one.seed in seeds and (one.model not in SIZE.methods or one.model in methods)
    }
    made = tables(of, size)
    made["measured"] = [line | {"commit": commit} for line in made["measured"]]
    return result({"kept": None}, {split: seeds}, made)


def test_a_part_takes_its_place_among_those_that_were_measured_in_the_same_way(tmp_path):
    assert joined(part("forget05", (0,), "new"), tmp_path).config["seeds"] == {"forget05": (0,)}  # there is no other
    part("forget01", (0, 1), "old", level=0.9).write(tmp_path, "old")
    both = joined(part("forget05", (0,), "new"), tmp_path)
    assert both.config == {"kept": None, "seeds": {"forget01": [0, 1], "forget05": [0]}}
    of = [(line["split"], line["seed"], line["commit"]) for line in both.tables["measured"]]
    assert list(dict.fromkeys(of)) == [("forget01", 0, "old"), ("forget01", 1, "old"), ("forget05", 0, "new")]
    assert {line["split"] for line in both.tables["over_seeds"]} == {"forget01"}  # of several seeds
    leak = next(one for one in both.figures if one.name.startswith("uld: leak@2 away"))
    assert (leak.value, leak.holds) == (pytest.approx(60), False)  # the worst of all, whenever it was measured
    both.write(tmp_path, "new")
    anew = joined(part("forget01", (0, 1), "newer"), tmp_path)
    assert all(one.holds for one in anew.figures)
    assert {(line["split"], line["commit"]) for line in anew.tables["measured"]} == {
        ("forget01", "newer"),
        ("forget05", "new"),
    }


def test_a_row_that_was_measured_by_itself_takes_the_place_of_the_one_before(tmp_path):
    part("forget01", (0, 1), "old", level=0.9).write(tmp_path, "old")
    both = joined(part("forget01", (0,), "new", methods=("uld",)), tmp_path)
    of = {(line["row"], line["seed"]): line["commit"] for line in both.tables["measured"]}
    assert {key for key, commit in of.items() if commit == "new"} == {("full", 0), ("retain", 0), ("uld", 0)}
    assert {row for row, seed in of if seed == 0} == {"full", "retain", "ignorance", "uld"}  # the others stay
    order = [line["row"] for line in both.tables["rows"] if line["seed"] == 0]
    assert order == ["full", "retain", "ignorance", "uld"]
    told = [(line["row"], line["seed"], line["what"]) for line in both.tables["differences"]]
    assert len(told) == len({*told})
    assert {(row, seed) for row, seed, _ in told} >= {("uld", 0), ("uld", 1), ("ignorance", 0), ("retain, seed 1", 0)}


def test_a_method_has_figures_of_the_splits_that_it_was_measured_on(tmp_path):
    part("forget01", (0,), "old", methods=("ignorance",)).write(tmp_path, "old")
    both = joined(part("forget05", (0,), "new"), tmp_path)
    assert {one.name.partition(":")[0] for one in both.figures if ":" in one.name} == {"ignorance", "uld"}


def test_what_was_measured_on_another_machine_is_not_joined(tmp_path, monkeypatch, caplog):
    part("forget01", (0, 1), "old").write(tmp_path, "old")
    monkeypatch.setattr(bench.tofu.figures, "machine", lambda: {"cores": 1_000})
    own = part("forget05", (0,), "new")
    assert joined(own, tmp_path) is own
    assert "differs in machine" in caplog.text


def test_that_files_were_changed_is_told_of_the_rows_of_before(tmp_path):
    part("forget01", (0, 1), "old").write(tmp_path, "old-dirty")
    both = joined(part("forget05", (0,), "new"), tmp_path)
    assert {(line["split"], line["commit"]) for line in both.tables["measured"]} == {
        ("forget01", "old-dirty"),
        ("forget05", "new"),
    }


@pytest.mark.parametrize("damage", [lambda whole: whole["config"].update(kept=6), lambda whole: whole.pop("config")])
def test_what_was_measured_in_another_way_is_not_joined(tmp_path, damage, caplog):
    path = part("forget01", (0, 1), "old").write(tmp_path, "old")
    whole = json.loads(path.read_text())
    damage(whole)
    path.write_text(json.dumps(whole))
    own = part("forget05", (0,), "new")
    assert joined(own, tmp_path) is own
    assert ("differs in kept" in caplog.text) is ("config" in whole)
