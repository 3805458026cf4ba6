"""Rows behind gateways that were measured in earlier sittings: no test here starts a gateway or loads a model."""

import math
from pathlib import Path

import pytest
from rich.progress import Progress

from bench import finished
from bench.finished import Finished
from bench.tofu import run
from bench.tofu.exposure import Exposed
from bench.tofu.marks import Forgotten, Known, Utility
from bench.tofu.questions import Kept
from bench.tofu.rows import Gated, Learnt, Row, Scope
from bench.tofu.run import Behind, Models
from bench.tofu.size import Size
from gateway.settings import Settings

SIZE = Size(seeds=(0,), methods=("ignorance", "o3"))
MODELS = Models(Path("full"), {split: Path("retain") for split in SIZE.splits})
SCOPE = Scope((), Kept((), (), (), ()), None, SIZE.effort, 0)


def row(model, split):
    known = Known(("a",), (0.5,), (0.5,), (0.5,))
    one = (0.25,)
    forgotten = Forgotten(("a",), one, one, one, one, one, one, one, one, one, (one,), (one,), ("a",), (model,))
    exposed = Exposed(("a",), {"loss": [1.0]}, ("b",), {"loss": [2.0]})
    learnt = Learnt(model, "enforced", 2.0, 1.0, 0, None, {"rounds": 1, "leak": {"mean": 0.0}})
    return Row(model, split, 0, Utility(known, known, known), forgotten, exposed, 1.0, 1.0, 2.0, (learnt,))


@pytest.fixture
def gateways(monkeypatch):
    """Gateways that are none: which were started, for which splits, and what was measured of them."""
    started, measured = [], []

    async def gated(folder, models, method, splits, scope):
        started.append((method, tuple(splits)))
        for split in splits:
            yield Gated(split, None, (), Path())

    async def measure(self, method, scope, answered):
        measured.append((method, self.split))
        return row(method, self.split)

    monkeypatch.setattr(run, "gated", gated)
    monkeypatch.setattr(Gated, "row", measure)
    monkeypatch.setattr(finished, "source", lambda: "code")
    monkeypatch.setattr(finished, "distributions", lambda: ())
    return started, measured


@pytest.fixture
def sitting(tmp_path):
    """All rows behind gateways, of another sitting each time."""
    settings = Settings().model_copy(update={"state_dir": tmp_path})

    async def rows(before=()):
        kept = Finished.of(settings, "tofu")
        for method, split in before:
            unit = {"row": method, "split": split, "seed": 0}
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
