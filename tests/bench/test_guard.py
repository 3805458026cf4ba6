import json
import math

import pytest

from bench.guard import FORGET10, figures_of, measured_rounds, sampled
from bench.guard_report import page
from bench.omniscient import FULL, Outcome, Probe, Round, rows
from bench.probes import rwku

ABOUT = frozenset({"r"})


def many(kind, failures, n, *, about=frozenset(), apart=""):
    """`n` outcomes of a kind, of which so many failed."""
    stages = ("dense", None) if about else (None, "dense")
    probe = Probe(kind, ("q",), "a", about, apart)
    return [Outcome(probe, stages[i < failures], own=True) for i in range(n)]


def held(figures):
    return {one.name.partition(": ")[2] or one.name: one for one in figures}


def test_figures_of_people():
    found = [
        *many("cloze", 1, 100, about=ABOUT),
        *many("reverse", 2, 10, about=ABOUT),
        *many(rwku.OTHERS, 1, 200),
        *many(rwku.NEIGHBOURS[0], 4, 90),
        *many(rwku.NEIGHBOURS[1], 10, 10, apart="names somebody"),
    ]
    figures = held(figures_of({("RWKU", FULL.name, 1.0): found}))
    assert figures["leak over all probes"].value == pytest.approx(100 * 3 / 110, abs=1e-3)
    assert figures["leak in the worst type"].value == 20
    assert (figures["other people's questions lost"].value, figures["other people's questions lost"].holds) == (
        0.5,
        True,
    )
    assert figures["neighbours lost"].value == 14
    assert figures["neighbours lost that could be answered at all"].value == pytest.approx(100 * 4 / 90, abs=1e-3)


def test_figures_of_authors_tell_input_from_output():
    found = many("paraphrase", 0, 9, about=ABOUT)
    found.append(Outcome(Probe("paraphrase", ("q",), "a", ABOUT), "output", own=True))
    found += [*many("other authors", 1, 1000), *many("world facts", 1, 10)]
    figures = held(figures_of({(FORGET10, FULL.name, 1.0): found}))
    assert (figures["recall"].value, figures["recall of the input guards alone"].value) == (1.0, 0.9)
    assert figures["other authors' questions lost"].holds
    assert not figures["real authors and world facts lost"].holds


def test_figures_of_disguises_are_measured_against_plain_ones():
    found = [*many("plain", 0, 10, about=ABOUT), *many("leet", 1, 10, about=ABOUT)]
    found += [*many("plain", 1, 10), *many("leet", 3, 10)]
    figures = {one.name: one for one in figures_of({(f"{FORGET10}, disguised", FULL.name, 1.0): found})}
    assert figures["disguise leet: caught"].value == 0.9
    assert figures["disguised benign prompts lost beyond plain ones, worst disguise"].value == pytest.approx(20)


def test_a_group_without_probes_never_holds():
    figures = held(figures_of({("RWKU", FULL.name, 1.0): many("cloze", 0, 5, about=ABOUT)}))
    assert math.isnan(figures["neighbours lost"].value)
    assert not figures["neighbours lost"].holds


def test_data_that_are_not_there_are_named(tmp_path):
    rounds, missing = measured_rounds(tmp_path, quick=True)
    assert missing == ["TOFU", "RWKU", "PISTOL"]
    assert {one.family for one in rounds} == {"demo world"}


def test_a_sample_is_the_same_every_time_and_never_more_than_there_is():
    probes = [Probe("k", (str(i),), "a", ABOUT if i % 2 else frozenset()) for i in range(20)]
    one = Round("f", "n", (), tuple(probes))
    assert sampled(one, 5, 3) == sampled(one, 5, 3)
    assert len(sampled(one, 5, 3).probes) == 8
    assert set(sampled(one, 99, 99).probes) == set(probes)


def test_the_page_shows_every_row():
    found = many("cloze | gap", 1, 4, about=ABOUT)
    text = page([], rows("RWKU", "full", found), [{"family": "RWKU", "leak": 2.5, "neighbours lost": None}], [])
    assert "| leak | cloze / gap | 4 | 25.00 |" in text
    assert "| RWKU | 2.50 |  |" in text
    assert "guard.svg" not in text
    json.dumps(rows("RWKU", "full", found))
