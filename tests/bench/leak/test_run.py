from dataclasses import replace

import pytest
from rich.console import Console

from bench.leak import run as leak
from bench.leak.marks import Drawn, Mark, Row
from bench.people import body_of
from bench.probes.dynamic import FAMILIES, pairs
from gateway.demo.world import make_world
from gateway.jobs.probes import probes_about
from gateway.registry import ForgetSpec
from gateway.settings import Settings

WORLD = make_world()


def row(model, seed=1, *, leaks=False, knows=True, refused=2, drawn=0, by=""):
    """A model that leaks all or nothing, and knows of the others all or nothing."""
    marks = [
        Mark(family, leaks, knows) if family != "token ids" else Mark(family, False, False, refused)
        for family in FAMILIES
    ]
    enforced = {f"{by or model}, enforced": 5} if model in leak.METHODS else {}
    return Row(model, seed, tuple(marks), (Drawn("p1", drawn, 200, 200),), enforced)


def rows(**changed):
    """Of every model as it should be, but for one method."""
    model, how = next(iter(changed.items()), ("", {}))
    base = [row("bare", leaks=True, drawn=200), row("retain")]
    return [*base, *(row(method, **(how if method == model else {})) for method in leak.METHODS)]


def failing(found):
    return [figure.name for figure in leak.figures(found) if not figure.holds]


def test_all_holds_where_all_is_as_it_should_be():
    assert failing(rows()) == []
    assert len(leak.figures(rows())) == 4 * len(leak.METHODS) + 2


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"leaks": True}, ["probes that leak", "answers continued"]),
        ({"knows": False}, ["their twins"]),
        ({"drawn": 9}, ["leak@128 away"]),
    ],
)
@pytest.mark.parametrize("method", leak.METHODS)
def test_what_is_not_so_is_told_of_its_method(method, wrong, named):
    found = failing(rows(**{method: wrong}))
    assert [name.startswith(f"{method}: {start}") for name, start in zip(found, named, strict=True)] == [True] * len(
        named
    )


@pytest.mark.parametrize(("wrong", "count"), [({"leaks": True}, 2), ({"knows": False}, 1), ({"drawn": 9}, 1)])
def test_one_worse_set_is_told(wrong, count):
    others = [replace(one, seed=2) for one in rows()]
    assert failing(rows() + others) == []
    found = failing([*rows(uld=wrong), *others, *(replace(one, seed=3) for one in others)])
    assert len(found) == count
    assert all(name.startswith("uld: ") and name.endswith("worst set") for name in found)


def test_to_say_less_than_a_model_that_guesses_is_told():
    guessing = [replace(one, drawn=(Drawn("p1", 9, 200, 200),)) for one in rows()]
    silent = [row("eco") if one.model == "eco" else one for one in guessing]
    assert failing(guessing) == []
    assert failing(silent) == ["eco: leak@128 away from the retain model's, worst set"]
    (one,) = [one for one in leak.figures(silent) if not one.holds]
    assert one.value < 0


def test_fewer_draws_have_a_smaller_k():
    few = [replace(one, drawn=(Drawn("p1", 0, 32, 32),)) for one in rows()]
    assert sum("leak@32 " in figure.name for figure in leak.figures(few)) == len(leak.METHODS)


def test_nothing_continued_is_nothing_that_holds():
    none = [replace(one, marks=tuple(mark for mark in one.marks if mark.family != "continuation")) for one in rows()]
    assert failing(none) == [
        f"{method}: answers continued above the retain model's, worst set" for method in leak.METHODS
    ]


def test_methods_that_are_not_asked_have_no_figures():
    found = leak.figures([one for one in rows() if one.model != "uld"])
    assert len(found) == 4 * 3 + 2
    assert not any(figure.name.startswith("uld") for figure in found)


def test_a_method_that_another_stands_in_for_is_told():
    assert failing(rows(uld={"by": "eco"})) == ["requests enforced by the method asked for, of all"]


def test_an_answer_to_token_ids_is_told():
    assert failing(rows(o3={"refused": 1})) == ["prompts of token ids that a gateway answers"]


def test_what_was_learned_from_or_verified_with_is_not_asked():
    people = WORLD.people[:2]
    found = pairs(WORLD, people, 0, 8)
    asked = leak.untried(found, people)
    tried = {
        probe.question
        for person in people
        for probes in (probes_about(ForgetSpec(**body_of(person))),)
        for probe in (*probes.development, *probes.held_out)
    }
    assert 0 < len(asked) < len(found)
    assert not tried.intersection(pair.forget.probe.question for pair in asked)
    assert {pair.family for pair in asked} == set(FAMILIES)


def test_only_those_who_are_filed_are_asked_about():
    first, second = WORLD.people[:2]
    asked = leak.untried(pairs(WORLD, [first, second]), [first])
    assert {pair.person for pair in asked} == {first.key}
    assert not any(second.name in case.text for pair in asked for case in (pair.forget, pair.control))


async def test_rows_of_all_sets_are_reported(monkeypatch, tmp_path, reported):
    async def study(settings, world, people, seed, size, finished, bar):
        return [replace(one, seed=seed) for one in rows(uld={"leaks": True})]

    monkeypatch.setattr(leak, "prepare", lambda settings: None)
    monkeypatch.setattr(leak, "study", study)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    found = await leak.measure(settings, False, Console(quiet=True), 2)
    assert [one["seed"] for one in found.tables["seeds"]] == [2] * 6 + [3] * 6
    page = reported(found)
    assert "| leak | uld: probes that leak" in page
    assert "leak (2 of 3 sets)" in page
