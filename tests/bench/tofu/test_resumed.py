"""Rows behind gateways that were measured in earlier sittings: no test here starts a gateway or loads a model."""

import math
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from bench import finished
from bench.finished import Finished
from bench.tofu import run
from bench.tofu.exposure import Exposed
from bench.tofu.marks import Forgotten, Known, Utility
from bench.tofu.questions import Author, Kept, Question
from bench.tofu.rows import Gated, Learnt, Row, Scope
from bench.tofu.run import Behind, Models
from bench.tofu.size import Effort, Size
from gateway.settings import Settings

SIZE = Size(seeds=(0,), methods=("ignorance", "o3"))
MODELS = Models(Path("full"), {split: Path("retain") for split in SIZE.splits})
SCOPE = Scope((), Kept((), (), (), ()), None, SIZE.effort, 0)


def row(model, split, seed=0):
    known = Known(("a",), (0.5,), (0.5,), (0.5,))
    one = (0.25,)
    forgotten = Forgotten(("a",), one, one, one, one, one, one, one, one, one, (one,), (one,), ("a",), (model,))
    exposed = Exposed(("a",), {"loss": [1.0], "min_k": [1.0]}, ("b",), {"loss": [2.0], "min_k": [2.0]})
    learnt = Learnt(model, "enforced", 2.0, 1.0, 0, None, {"rounds": 1, "leak": {"mean": 0.0}})
    return Row(
        model, split, seed, Utility(known, known, known), forgotten, exposed, 1.0, 1.0, 2.0, (learnt,), {model: 3}
    )


@pytest.fixture
def gateways(monkeypatch):
    """Gateways that are none: which were started, for which splits, and what was measured of them."""
    started, measured = [], []

    async def gated(folder, models, method, splits, scope):
        started.append((method, tuple(splits)))
        for split in splits:
            yield Gated(split, None, (), Path(), 2)

    async def measure(self, method, scope, answered):
        measured.append((method, self.split))
        return row(method, self.split, scope.seed)

    monkeypatch.setattr(run, "gated", gated)
    monkeypatch.setattr(Gated, "row", measure)
    monkeypatch.setattr(finished, "source", lambda *_: "code")
    monkeypatch.setattr(finished, "distributions", lambda: ())
    return started, measured


@pytest.fixture
def sitting(tmp_path):
    """All rows behind gateways, of another sitting each time."""
    settings = Settings().model_copy(update={"state_dir": tmp_path})

    async def rows(before=()):
        kept = Finished.of(settings, "tofu")
        for method, split in before:
            unit = {"row": method, "split": split, "seed": 0, "after": [*SIZE.splits[: SIZE.splits.index(split)]]}
            kept.keep(Behind, unit, Behind(row(method, split)))
        with Progress(disable=True) as bar:
            return [one.row async for one in run._behind(settings, MODELS, SIZE, SCOPE, kept, bar)]

    return rows


async def test_what_all_was_found_starts_no_gateway(gateways, sitting):
    first = await sitting()
    started, measured = ([*told] for told in gateways)
    assert started == [(method, SIZE.splits) for method in SIZE.methods]
    assert measured == [(one.model, one.split) for one in first]
    assert await sitting() == first
    assert (*gateways,) == (started, measured)


async def test_a_gateway_that_lacks_rows_is_filed_to_as_far_as_these_and_measured_for_them(gateways, sitting):
    rows = await sitting([("ignorance", "forget01"), ("ignorance", "forget10"), ("o3", "forget01"), ("o3", "forget05")])
    assert [(one.model, one.split) for one in rows] == [(m, split) for m in SIZE.methods for split in SIZE.splits]
    assert gateways == (
        [("ignorance", ("forget01", "forget05")), ("o3", SIZE.splits)],
        [("ignorance", "forget05"), ("o3", "forget10")],
    )


def test_a_row_comes_back_as_it_was_and_what_is_not_known_stays_unknown(gateways, tmp_path):
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    whole = Behind(row("eco", "forget01"), ({"split": "forget01", "probability": 0.5, "ratio": [0.1, 1.5]},))
    Finished.of(settings, "tofu").keep(Behind, {"row": "eco"}, whole)
    assert Finished.of(settings, "tofu").find(Behind, {"row": "eco"}) == whole
    untold = Exposed(("a",), {"min_k++": [math.nan]}, ("b",), {})
    Finished.of(settings, "tofu").keep(Exposed, {"row": "eco"}, untold)
    found = Finished.of(settings, "tofu").find(Exposed, {"row": "eco"})
    assert math.isnan(found.members["min_k++"][0])


@pytest.fixture
def by_themselves(monkeypatch, gateways):
    """Models without a gateway that are none either, of made-up authors; what was measured of them, by seed."""
    measured = []

    @asynccontextmanager
    async def loaded(folder):
        yield None

    async def row_of(subject, model, split, scope, answered):
        if (model, scope.seed) in stops:
            raise KeyboardInterrupt
        measured.append((model, scope.seed))
        return replace(row(model, split, scope.seed), requests=())

    async def models(settings, size, seed, bar):
        return MODELS

    stops = set()
    question = Question("q", "a", "p", "r", ("w",), "A")
    monkeypatch.setattr(run, "authors", lambda data: [Author({"subject": "A"}, (question,))] * 20)
    monkeypatch.setattr(run, "kept", lambda data, most: Kept((question,), (), (), ()))
    for name, made in (("fingerprint", lambda data: "data"), ("contents", str), ("loaded", loaded)):
        monkeypatch.setattr(run, name, made)
    monkeypatch.setattr(run, "row_of", row_of)
    monkeypatch.setattr(run, "intervals", lambda row, of, size: {})  # they take a while
    monkeypatch.setattr(run, "_models", models)
    return measured, stops


async def test_a_run_that_was_stopped_in_its_second_seed_goes_on_there_and_says_the_same(by_themselves, tmp_path):
    measured, stops = by_themselves
    size = Size(("forget01",), (0, 1), alone=("full", "retain"), methods=("ignorance",), effort=Effort(1, 1, 1))

    async def sitting(state):
        settings = Settings().model_copy(update={"state_dir": tmp_path / state})
        return await run.measured(settings, size, Console(quiet=True))

    stops.add(("retain", 1))
    with pytest.raises(KeyboardInterrupt):
        await sitting("stopped")
    stops.clear()
    measured.clear()
    resumed = await sitting("stopped")
    assert measured == [("retain", 1)]
    whole = await sitting("whole")
    assert {**resumed.tables, "measured": []} == {**whole.tables, "measured": []}
    gated = [told for told in resumed.tables["rows"] if told["row"] in SIZE.methods]
    assert gated
    assert all(told["answered_by"] == {told["row"]: 3} for told in gated)
    units = [(one["row"], one["seed"]) for one in resumed.tables["measured"]]
    assert units == [(model, seed) for seed in (0, 1) for model in ("full", "retain", "ignorance")]


async def test_a_part_is_taken_over_by_what_has_it_too(by_themselves, gateways, tmp_path):
    measured, _ = by_themselves
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    some = Size(("forget01",), (0,), alone=("full", "retain"), methods=("ignorance",), effort=Effort(1, 1, 1))
    await run.measured(settings, some, Console(quiet=True))
    more = replace(some, splits=("forget01", "forget05"), seeds=(0, 1), methods=("ignorance", "o3"))
    measured.clear()
    gateways[1].clear()
    await run.measured(settings, more, Console(quiet=True))
    assert gateways[1] == [("ignorance", "forget05"), ("o3", "forget01"), ("o3", "forget05")] + [
        (method, split) for method in more.methods for split in more.splits
    ]
    assert measured == [(model, seed) for seed, twice in ((0, 1), (1, 2)) for _ in range(twice) for model in some.alone]
    last = replace(some, splits=("forget05",))  # nobody was filed before these
    gateways[1].clear()
    await run.measured(settings, last, Console(quiet=True))
    assert gateways[1] == [("ignorance", "forget05")]
