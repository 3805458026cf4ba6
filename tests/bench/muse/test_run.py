from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console
from rich.progress import Progress

from bench.muse import run
from bench.muse.growing import Grown
from bench.muse.marks import Mark, Recited, Row
from bench.o3.matrix import Matrix
from gateway.settings import EngineSettings, Settings

METHODS = ("ignorance", "eco")


def row(model, seed=1, *, recited=0.0, known=0, lost=0, members=(2.0, 2.0), by=""):
    """Of a hundred questions about the forgotten `known` are answered, of as many others all but `lost`."""
    return Row(
        model,
        seed,
        (Recited("p1", recited),),
        tuple(Mark("p1", 0.0, i < known) for i in range(100)),
        tuple(Mark("p2", 1.0, i >= lost) for i in range(100)),
        ("p1", "p2"),
        members,
        (2.0, 2.0),
        Counter({f"{by or model}, enforced": 5} if model in METHODS else {}),
    )


def rows(**changed):
    """Every model as it should be, but for one method."""
    return [
        row("bare", recited=1.0, known=100, members=(0.1, 0.1)),
        row("retain"),
        *(row(method, **changed.get(method, {})) for method in METHODS),
    ]


def grown(method, seed=1, *, first=(0, 0), last=0, kept=(1.0, 1.0), by="eco"):
    """Two groups of fifty questions each; right answers about the first by step, and about the second."""
    enforced = ({f"{method}, enforced": 3}, {f"{by}, enforced": 10})
    return Grown(method, seed, (3, 13), Matrix((50, 50), (0, 0), (first, (last,))), (1.0, *kept), enforced, ({},) * 2)


def failing(found):
    return [figure.name for figure in found if not figure.holds]


def test_all_holds_where_all_is_as_it_should_be():
    assert failing(run.of_ways(rows())) == []
    assert len(run.of_ways(rows())) == 1 + 4 * len(METHODS)
    good = [grown("eco"), grown("eco", 2)]
    assert failing(run.of_growing(good, good)) == []
    assert len(run.of_growing(good, good)) == 5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"recited": 0.2}, "verbatim"),
        ({"known": 3}, "facts said"),
        ({"members": (1.0, 1.0)}, "PrivLeak"),
        ({"members": (3.0, 3.0)}, "PrivLeak"),
        ({"lost": 2}, "others' answers"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_so_is_told_of_its_method(method, wrong, named):
    (name,) = failing(run.of_ways(rows(**{method: wrong})))
    assert name.startswith(f"{method}: {named}")


def test_one_worse_set_is_told():
    others = [replace(one, seed=2) for one in rows(eco={"known": 3})]
    assert failing(run.of_ways(rows() + others)) == ["eco: facts said above the retain model's, worst set"]


def test_one_worse_stream_is_told():
    def named(**wrong):
        found = [grown("eco"), grown("eco", 2, **wrong)]
        return failing(run.of_growing(found, ())), failing(run.of_growing((), found))

    assert [len(names) for names in named(first=(0, 2), last=3)] == [1, 1]
    assert named(last=3) == (
        ["eco: facts said above the retain model's of whom it never met, 13 forgotten, worst stream"],
        [],
    )
    assert named(first=(0, 2)) == ([], ["eco: leak of the first request after 2, worst stream"])
    assert named(kept=(1.0, 0.98)) == (
        ["eco: others' answers then, share of before, worst stream"],
        ["eco: others' answers after any of 2 requests, share of before, worst stream"],
    )
    assert named(kept=(0.98, 1.0))[0] == []


def test_a_method_that_another_stands_in_for_is_told():
    assert failing(run.of_ways(rows(eco={"by": "ignorance"}))) == ["requests enforced by the method asked for, of all"]
    assert failing(run.of_growing([grown("eco")], [grown("eco", 2, by="ignorance")])) == [
        "requests enforced by the method asked for, of all that are filed in groups"
    ]


@pytest.mark.parametrize("engine", [EngineSettings(), EngineSettings(threads=1, max_batch=8)])
async def test_the_demo_model_is_not_asked_what_it_never_read(engine):
    with Progress(disable=True) as bar:
        assert list((await run.of_given(Settings(engine=engine), run.QUICK, bar))[0]) == ["skipped"]


async def test_all_six_ways_are_reported(monkeypatch, tmp_path, reported):
    async def four_ways(settings, world, people, seed, size, finished, bar):
        return [replace(one, seed=seed) for one in rows(eco={"known": 50})]

    async def growing(settings, world, stream, plan, methods, size, finished, bar):
        return [grown(method, stream.seed) for method in methods]

    async def of_given(settings, size, bar):
        return []

    monkeypatch.setattr(run, "prepare", lambda settings: None)
    for name, instead in (("four_ways", four_ways), ("growing", growing), ("of_given", of_given)):
        monkeypatch.setattr(run, name, instead)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    found = await run.measure(settings, False, Console(quiet=True), 2)
    assert {one["seed"] for one in found.tables["sets"]} == {2, 3}
    page = reported(found)
    assert "| muse | eco: facts said" in page
    assert "muse (2 of 3 sets)" in page
