import json
import os
from pathlib import Path

import pytest

from adapters.base import Assisted, EngineError, Scaled, Steered, Strength
from adapters.o3.concatenation import files_of
from adapters.uld import wire
from gateway.engines.steering import Shelf

HOUR = 3600.0


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "uld.json").write_text("{}")
    return folder


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


def plan(*folders, alpha=0.5):
    return Steered(tuple(Assisted(folder, Strength(alpha, 2.0, 0.1)) for folder in folders))


def names(asked):
    return [one.folder for one in wire.loads(asked[wire.KEY]).assistants]


def old(path, seconds):
    os.utime(path, times=(path.stat().st_atime, path.stat().st_mtime - seconds))


def test_what_a_request_names_is_there(artifact, root):
    asked = Shelf(root).asked(plan(artifact))
    (name,) = names(asked)
    assert {one.name: one.read_bytes() for one in (root / name).iterdir()} == {
        one.name: one.read_bytes() for one in artifact.iterdir()
    }
    assert wire.loads(asked[wire.KEY]).assistants[0].strength == Strength(0.5, 2.0, 0.1)
    assert [*root.iterdir()] == [root / name]


def test_the_same_assistant_is_laid_once_and_another_elsewhere(artifact, root, tmp_path):
    shelf, other = Shelf(root), tmp_path / "other"
    other.mkdir()
    (other / "adapter_model.safetensors").write_bytes(b"others")
    assert shelf.asked(plan(artifact, alpha=0.1)) != shelf.asked(plan(artifact, alpha=0.2))
    assert names(shelf.asked(plan(artifact, other)))[0] == names(shelf.asked(plan(artifact)))[0]
    assert len([*root.iterdir()]) == 2


def test_a_folder_that_is_filled_anew_is_laid_anew(artifact, root):
    shelf = Shelf(root)
    before = names(shelf.asked(plan(artifact)))
    (artifact / "adapter_model.safetensors").write_bytes(b"other weights")
    old(artifact / "adapter_model.safetensors", -5)
    assert names(shelf.asked(plan(artifact))) != before


def test_what_was_not_used_for_an_hour_goes_and_comes_again(artifact, root, tmp_path):
    shelf, other = Shelf(root), tmp_path / "other"
    other.mkdir()
    (other / "uld.json").write_bytes(b"others")
    (kept,), (gone,) = names(shelf.asked(plan(artifact))), names(shelf.asked(plan(other)))
    old(root / kept, HOUR - 60)
    old(root / gone, HOUR + 60)
    shelf.asked(plan(artifact))
    shelf.sweep()
    assert [one.name for one in root.iterdir()] == [kept]
    old(root / kept, HOUR - 60)  # it was used since, and counts from there
    shelf.asked(plan(other))
    assert {one.name for one in root.iterdir()} == {kept, gone}


def test_what_somebody_else_put_there_stays(artifact, root):
    (root / "notes").write_text("mine")
    old(root / "notes", 10 * HOUR)
    shelf = Shelf(root)
    shelf.asked(plan(artifact))
    shelf.clear()
    assert [one.name for one in root.iterdir()] == ["notes"]


def test_at_the_end_a_gateway_takes_away_what_is_its_own(artifact, root):
    mine, theirs = Shelf(root), Shelf(root)
    mine.asked(plan(artifact))
    kept = names(theirs.asked(plan(artifact)))
    mine.clear()
    assert [one.name for one in root.iterdir()] == kept


def test_an_examination_is_there_while_it_is_asked_for(root):
    with Shelf(root).examination([4, 5]) as asked:
        (name,) = names(asked)
        assert json.loads((root / name / wire.EXAMINATION).read_text()) == {"tokens": [4, 5]}
    assert not [*root.iterdir()]


@pytest.mark.parametrize("missing", ["artifact", "root"])
def test_what_cannot_be_laid_is_an_error_that_names_no_path(artifact, root, missing):
    shelf = Shelf(root if missing == "artifact" else Path(f"{root}/nowhere"))
    with pytest.raises(EngineError) as caught:
        shelf.asked(plan(artifact / "nowhere" if missing == "artifact" else artifact))
    assert str(root) not in str(caught.value)
    if missing == "root":
        with pytest.raises(EngineError), shelf.examination([1]):
            pass


def test_a_lora_is_laid_as_a_server_reads_it(root, lora):
    shelf = Shelf(root)
    name = shelf.lora((Scaled(lora, 0.5),))
    assert {one.name: one.read_bytes() for one in (root / name).iterdir()} == files_of((Scaled(lora, 0.5),))
    assert shelf.lora((Scaled(lora, 0.5),)) == name
    assert shelf.lora((Scaled(lora, 1.0),)) != name != shelf.lora((Scaled(lora, 0.5), Scaled(lora)))


def test_a_lora_that_is_kept_stays_for_another_hour(root, lora):
    shelf = Shelf(root)
    names = [shelf.lora((Scaled(lora, weight),)) for weight in (0.5, 1.0)]
    for name in names:
        old(root / name, 2 * HOUR)
    shelf.keep(names[0])
    shelf.keep("0" * 48)  # what is gone is gone
    shelf.sweep()
    assert [*root.iterdir()] == [root / names[0]]


def test_what_is_laid_for_a_while_goes_with_it(root):
    shelf = Shelf(root)
    with shelf.laid({"file": b"content"}) as name:
        assert (root / name / "file").read_bytes() == b"content"
    assert not [*root.iterdir()]
