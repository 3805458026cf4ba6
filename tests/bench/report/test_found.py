import json

import pytest

from bench.report.found import Found, read
from bench.result import Figure


def test_results_are_read_by_name(stream, tmp_path):
    (tmp_path / "o3.json").write_text(json.dumps(stream))
    found = read(tmp_path)["o3"]
    assert found.figure("leak") == Figure("leak", 5.0, "pt", "<= 2", holds=False)
    assert found.figure("another") is None
    assert found.tables["alone"] == stream["alone"]
    assert "config" not in found.tables


def test_a_file_that_is_no_result_is_an_error(stream):
    del stream["commit"]
    with pytest.raises(KeyError):
        Found.of(stream)


def test_what_holds_is_resolved_where_no_interval_reaches_beyond_the_goal(stream):
    rows = [
        {"row": "uld", "what": what, "told": told}
        for what, told in (
            ("leak@128", "not resolved"),
            ("leak@128, paraphrased", "within"),
            ("begun, bare", "within"),
            ("begun, asked", "not resolved"),
        )
    ]
    found = Found.of(stream | {"differences": rows})

    def resolved(name):
        return found.resolved(Figure(name, 1, "pt", "± 2", holds=True))

    assert not resolved("uld: leak@128 away from the retain model's, worst")
    assert resolved("uld: leak@128, paraphrased, away from the retain model's, worst")
    assert not resolved("uld: begun away from the retain model's, worst")
    assert resolved("o3: leak@128 away from the retain model's, worst")
    assert resolved("leak")


def test_who_made_the_answers_is_added_up_by_row(stream):
    assert Found.of(stream).made_by == {"": {"o3": 120}}
    rows = [
        {"row": name, "seed": seed, "answered_by": {name: 1, "pass": 2}} for name in ("eco", "uld") for seed in (1, 2)
    ]
    inside = [{"switches": 5, "answered_by": {"pass": 3}}, {"alone": {"answered_by": {"uld": 4}}}]
    found = Found.of(
        stream | {"steps_stream_1": [], "seeds": rows, "before_vllm": inside, "sets": [rows[0] | {"row": None}]}
    )
    assert found.made_by == {
        "": {"eco": 1, "pass": 2},
        "eco": {"eco": 2, "pass": 4},
        "uld": {"uld": 2, "pass": 4},
        "before vllm": {"pass": 3, "uld": 4},
    }


def test_what_was_skipped_is_found(stream):
    found = Found.of(stream | {"given_model": [{"skipped": "no model"}]})
    assert list(found.skipped) == [("given model", "no model")]


def test_counts_that_stand_twice_are_added_once(stream):
    rows = [{"row": "eco", "split": "forget01", "seed": 0, "answered_by": {"eco": 3}}]
    assert Found.of(stream | {"steps_stream_1": [], "rows": rows, "methods": rows}).made_by == {"eco": {"eco": 3}}
