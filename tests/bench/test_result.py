import json
import math
import os
import stat
import subprocess

import pytest

from bench import result
from bench.result import Figure, Result, commit, write_whole


def made(**tables):
    return Result("made", {"people": 2}, 7, [Figure.of("leak", 0.5, "<=", 1, "pt")], tables)


def test_a_result_says_what_was_measured_of_which_commit_and_where(tmp_path):
    path = made(rows=[{"row": "a", "share": (0.5, 1)}]).write(tmp_path / "new", "c1-dirty")
    assert path == tmp_path / "new/made.json"
    whole = json.loads(path.read_text())
    assert list(whole) == ["name", "commit", "config", "seed", "machine", "figures", "rows"]
    assert (whole["commit"], whole["seed"], whole["machine"]["cores"]) == ("c1-dirty", 7, os.cpu_count())
    assert whole["figures"] == [{"name": "leak", "value": 0.5, "unit": "pt", "goal": "<= 1", "holds": True}]
    assert whole["rows"] == [{"row": "a", "share": [0.5, 1]}]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_known_is_null_and_holds_for_no_goal(tmp_path, value):
    figures = [Figure.of("leak", value, sense, 0) for sense in ("<=", ">=", "<", ">")]
    text = (
        Result("made", {}, 0, figures, {"rows": [{"p": value, "all": [value, 1.0]}]}).write(tmp_path, "c").read_text()
    )
    whole = json.loads(text, parse_constant=pytest.fail)
    assert [(one["value"], one["holds"]) for one in whole["figures"]] == [(None, False)] * 4
    assert whole["rows"] == [{"p": None, "all": [None, 1.0]}]


def test_a_figure_that_was_not_known_is_so_again_when_it_is_read():
    assert math.isnan(Figure("leak", None, "", "<= 1", False).value)


def test_a_result_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = made().write(tmp_path, "c1")
    with pytest.raises(TypeError):
        made(rows=[{"what": object()}]).write(tmp_path, "c2")
    assert json.loads(path.read_text())["commit"] == "c1"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder/file"
    write_whole(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "after \ud800")
    assert path.read_text() == "before"
    assert [stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()] == [0o600]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """One with a source, a test, a page, a picture and a result, all committed."""
    names = ("bench/a.py", "tests/a.py", "README.md", "bench/LOG.md", "docs/a.svg", "bench/results/a.json")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "a")):
        subprocess.run(["git", *own, *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(result, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["README.md", "bench/LOG.md", "docs/a.svg", "bench/results/a.json", "bench/new.py"])
def test_results_and_pages_make_nothing_dirty(repository, name):
    clean = commit()
    (repository / name).write_text("2")
    assert commit() == clean
    assert len(clean) >= 7


@pytest.mark.parametrize("name", ["bench/a.py", "tests/a.py"])
def test_a_source_that_differs_is_told(repository, name):
    clean = commit()
    (repository / name).write_text("2")
    assert commit() == f"{clean}-dirty"


def test_outside_a_repository_the_commit_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(result, "ROOT", tmp_path)
    assert commit() == "unknown"


def test_a_figure_holds_or_does_not():
    assert Figure.of("x", 2.0, "<=", 2).holds
    assert not Figure.of("x", 2.1, "<=", 2).holds
    assert not Figure.of("x", float("nan"), ">=", 0).holds
    assert [Figure.of("p", value, ">", 0.05).value for value in (6.12345e-9, 0.123456, -12.34567, 0.0)] == [
        6.123e-9,
        0.1235,
        -12.3457,
        0.0,
    ]
