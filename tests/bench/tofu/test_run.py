from dataclasses import asdict
from pathlib import Path

import pytest
from rich.console import Console

from bench.result import RESULTS, Result
from bench.tofu import run
from bench.tofu.questions import SPLITS
from bench.tofu.run import Models, Part, measure, part
from bench.tofu.size import QUICK, Size
from gateway.settings import Settings, SettingsError
from guards.base import LetheError


def test_given_models_are_named_for_their_splits(tmp_path):
    asked = part(tmp_path, [f"forget10={tmp_path}"], [], [], None)
    assert asked == Part(Models(tmp_path, {"forget10": tmp_path}))
    for model, retain in ((tmp_path, []), (None, [f"forget10={tmp_path}"]), (tmp_path, [f"forget99={tmp_path}"])):
        with pytest.raises(SettingsError):
            part(model, retain, [], [], None)
    with pytest.raises(SettingsError, match="there is no folder"):
        part(tmp_path / "none", [f"forget10={tmp_path}"], [], [], None)
    with pytest.raises(SettingsError, match="--split"):
        part(tmp_path, [f"forget10={tmp_path}"], ["forget01"], [], None)
    with pytest.raises(SettingsError, match="--seeds"):
        part(tmp_path, [f"forget10={tmp_path}"], [], [], 2)
    with pytest.raises(SettingsError, match="a split is one of"):
        part(None, [], ["forget02"], [], None)
    for row in ("full", "retrain"):
        with pytest.raises(SettingsError, match="--row: one of prompt, npo, ignorance, eco, uld, o3"):
            part(None, [], [], [row], None)


@pytest.fixture
def sizes(monkeypatch):
    """What would be measured, without measuring it."""
    found = []

    async def measured(settings, size, console, given=None):
        found.append(size)
        return Result("tofu", {"seeds": {}}, 0, [], {})

    monkeypatch.setattr(run, "measured", measured)
    monkeypatch.setattr(run, "joined", lambda part, folder: found.append(folder) or part)
    return found


@pytest.mark.parametrize("quick", [False, True])
async def test_given_models_are_measured_on_their_splits_whatever_the_size(sizes, quick):
    models = Models(Path("full"), {"forget10": Path("a"), "forget05": Path("b")})
    await measure(Settings(), quick, Console(), Part(models))
    await measure(Settings(), quick, Console())
    assert [size.splits for size in sizes if size != RESULTS] == [
        ("forget05", "forget10"),
        QUICK.splits if quick else tuple(SPLITS),
    ]
    assert [size.quick for size in sizes if size != RESULTS] == [quick, quick]
    assert (RESULTS in sizes) is not quick  # what is measured quickly joins nothing


async def test_a_part_is_of_these_splits_and_so_many_seeds(sizes):
    models = Models(Path("full"), {"forget10": Path("a"), "forget05": Path("b")})
    for asked in (
        Part(splits=("forget10", "forget01")),
        Part(seeds=2),
        Part(models, ("forget10", "forget01"), seeds=2),
    ):
        await measure(Settings(), False, Console(), asked)
    assert [(size.splits, size.seeds) for size in sizes if size != RESULTS] == [
        (("forget01", "forget10"), (0, 1, 2)),
        (tuple(SPLITS), (0, 1)),
        (("forget10",), (0,)),
    ]


@pytest.mark.parametrize("quick", [False, True])
async def test_a_part_is_of_these_rows_and_of_what_they_are_compared_with(sizes, quick):
    for rows in (("o3", "npo"), ("prompt",)):
        await measure(Settings(), quick, Console(), Part(rows=rows))
    assert [(size.alone, size.methods) for size in sizes if size != RESULTS] == [
        (("full", "retain", "npo"), ("o3",)),
        (("full", "retain", "prompt"), ()),
    ]


async def test_without_data_it_says_what_is_lacking(tmp_path):
    with pytest.raises(LetheError, match="LETHE_DATA_DIR"):
        await measure(Settings().model_copy(update={"data_dir": tmp_path}), True, Console())


def test_draws_are_as_many_as_leak_is_told_for():
    assert Size().effort.draws >= 128
    assert Size().effort.ks == [1, 2, 4, 8, 16, 32, 64, 128]


def test_quick_trains_nothing_for_its_one_author():
    assert (QUICK.authors, len(QUICK.seeds), QUICK.methods) == (1, 1, ("eco",))
    assert "npo" not in QUICK.alone
    assert asdict(QUICK)["quick"]
