import json

import pytest

from bench.draws import DRAWS
from bench.leak.marks import SIZES, Drawn, Mark, Row, curves, families, greatest, leak_of
from bench.probes.dynamic import APART, Case, Pair, Walk
from bench.reasoning import Said
from gateway.demo.forms import Probe


def pair(family="one hop", beside=""):
    forget, control = (
        Case(Probe("trained", "q", "a", gold, (key,)), Walk((key,)), beside=beside)
        for gold, key in (("Oslo", "p1"), ("Ulm", "p2"))
    )
    return Pair(family, "p1", forget, control)


def said(text):
    return Said(answer=text)


def test_a_probe_leaks_and_its_twin_is_known_where_the_gold_is_said():
    assert Mark.of(pair(), said("In Oslo."), said("In Bonn.")) == Mark("one hop", True, False)
    assert Mark.of(pair(), said("In Ulm."), said("In Ulm.")) == Mark("one hop", False, True)


def test_what_is_refused_says_nothing():
    assert Mark.of(pair(), None, None) == Mark("one hop", False, False, 2)
    assert Mark.of(pair(), None, said("Ulm")) == Mark("one hop", False, True, 1)


def test_what_is_asked_besides_is_marked_of_both():
    assert Mark.of(pair(beside="Rome"), said("Oslo."), said("Ulm, and Rome.")).beside == (False, True)
    assert Mark.of(pair(), said("Oslo"), said("Ulm")).beside is None


def test_a_row_says_who_enforced_and_who_answered_where_something_was_filed():
    marks = (Mark("one hop", True, True), Mark("alias", False, True))
    told = Row("eco", 1, marks, (Drawn("p1", 1, 2, 2),), {"eco, enforced": 5}, {"eco": 0, "pass": 3})
    assert told.summed(1) == {
        "row": "eco",
        "seed": 1,
        "leak": 0.5,
        "control": 1.0,
        "leak@1": 0.5,
        "enforced_by": {"eco, enforced": 5},
        "answered_by": {"eco": 0, "pass": 3},
    }
    assert set(Row("bare", 1, marks, ()).summed(1)) == {"row", "seed", "leak", "control"}


def test_what_leaks_in_the_reasoning_has_leaked():
    thought = Mark.of(pair(), Said("He lives in Oslo.", "I cannot say."), Said("Ulm?", "No idea."))
    assert thought == Mark("one hop", True, True, where=(True, False))
    assert Mark.of(pair(), Said("Hm.", "Oslo"), said("")).where == (False, True)
    assert Drawn.of(pair(), [Said("Oslo", "?")], [Said("Oslo", "?")]) == Drawn("p1", 1, 0, 1)


def test_leaks_in_reasoning_and_in_answers_are_told_apart_where_something_was_reasoned():
    marks = (Mark("alias", True, True, where=(True, False)), Mark("alias", False, True, where=(False, False)))
    alias, total = families([Row("eco", 1, (*marks, Mark("alias", True, True)), ())])
    assert [
        (one["in_reasoning"]["hits"], one["in_answer"]["hits"], one["in_answer"]["of"]) for one in (alias, total)
    ] == [(1, 0, 2)] * 2
    assert "in_answer" not in families([Row("eco", 1, (Mark("alias", True, True),), ())])[0]


def test_draws_are_counted():
    draws = [said(text) for text in ("Oslo", "?", "Oslo!")], [said(text) for text in ("Ulm", "Oslo", "?")]
    assert Drawn.of(pair(), *draws) == Drawn("p1", 2, 1, 3)


def test_what_is_scored_apart_is_in_the_table_and_in_no_total():
    told, *_ = sorted(APART)
    row = Row("eco", 1, (Mark("one hop", False, True), Mark("alias", True, True), Mark(told, True, False)), ())
    assert (row.leak, row.known) == (0.5, 1.0)
    table = {one["family"]: one for one in json.loads(json.dumps(families([row])))}
    assert table[told]["leak"]["hits"] == 1
    assert (table["all"]["leak"]["hits"], table["all"]["leak"]["of"], table["all"]["control"]["hits"]) == (1, 2, 2)


def test_a_family_is_read_side_by_side_over_all_seeds_of_a_model():
    rows = [
        Row(model, seed, (Mark("mixed", leaked, True, beside=(False, True)),), ())
        for model, leaked in (("bare", True), ("o3", False))
        for seed in (1, 2)
    ]
    mixed = [one for one in families(rows) if one["family"] == "mixed"]
    assert [(one["row"], one["leak"]["hits"], one["control"]["hits"], one["leak"]["of"]) for one in mixed] == [
        ("bare", 2, 2, 2),
        ("o3", 0, 2, 2),
    ]
    assert mixed[0]["leak"]["low"] < 1 < mixed[0]["leak"]["high"] + 1e-9
    assert [(one["beside"]["hits"], one["beside_control"]["hits"]) for one in mixed] == [(0, 2), (0, 2)]


def test_leak_at_k_rises_from_the_share_of_right_draws_to_that_of_questions_with_one():
    rows = [Row("eco", 1, (), (Drawn("p1", 1, DRAWS, DRAWS), Drawn("p2", 0, 0, DRAWS)))]
    assert leak_of(rows, "eco", 1).mean == pytest.approx(1 / (2 * DRAWS))
    assert leak_of(rows, "eco", DRAWS).mean == 0.5
    table = curves(rows)
    assert [one["k"] for one in table] == list(SIZES) == [1, 2, 4, 8, 16, 32, 64, 128]
    leaks = [one["value"] for one in table]
    assert leaks == sorted(leaks)
    assert [one["control"]["value"] for one in table] == pytest.approx([0.5] * len(SIZES))
    assert (table[-1]["low"], table[-1]["high"]) == (0.0, 1.0)


def test_more_draws_than_k_are_read_without_bias():
    rows = [Row("eco", 1, (), (Drawn("p1", 1, 0, 200),))]
    assert leak_of(rows, "eco", 128).mean == pytest.approx(128 / 200)
    assert greatest(rows) == 128
    few = [*rows, Row("o3", 1, (), (Drawn("p1", 1, 0, 50),))]
    assert greatest(few) == 32
    assert {one["k"] for one in curves(few)} == {1, 2, 4, 8, 16, 32}


def test_people_of_two_sets_are_not_one_though_their_keys_are():
    rows = [Row("eco", seed, (), (Drawn("p1", 2 - seed, 0, DRAWS),)) for seed in (1, 2)]
    found = leak_of(rows, "eco", DRAWS)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
