import json
import math
import stat
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import pytest

from bench import finished
from bench.finished import Finished, contents
from bench.leak.marks import Drawn, Mark, Row
from bench.muse import growing, marks
from bench.o3.matrix import Matrix
from bench.run import HARNESSES
from bench.wmdp import run as wmdp
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Made:
    """A unit as harnesses have them."""

    name: str
    scores: tuple[float, ...]


@pytest.fixture
def code(monkeypatch):
    """The source as it is now; a test may change it."""
    now = ["one"]
    monkeypatch.setattr(finished, "source", lambda *_: now[0])
    return now


@pytest.fixture
def of(code, tmp_path, monkeypatch):
    """A sitting, with whatever its units follow from."""
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    monkeypatch.setattr(finished, "distributions", lambda: ())  # there are many
    return lambda *basis, name="made": Finished.of(settings, name, *basis)


class Work:
    """Measures units and counts them; the one it is to fail at is not measured."""

    def __init__(self, fails_at=None):
        self.done = []
        self._fails_at = fails_at

    async def __call__(self, name):
        if name == self._fails_at:
            raise KeyboardInterrupt
        self.done.append(name)
        return Made(name, (0.1 + 0.2, math.inf))

    async def all(self, kept, names="abc"):
        return [await kept.once(Made, {"row": name}, partial(self, name)) for name in names]


async def test_what_was_measured_is_found_by_the_next_sitting_to_the_last_digit(of):
    first, second = Work(), Work()
    assert await first.all(of({"size": 3})) == await second.all(of({"size": 3}))
    assert (first.done, second.done) == (["a", "b", "c"], [])


async def test_an_interrupted_run_goes_on_where_it_was(of):
    interrupted, second = Work(fails_at="b"), Work()
    with pytest.raises(KeyboardInterrupt):
        await interrupted.all(of())
    assert [one.name for one in await second.all(of())] == ["a", "b", "c"]
    assert (interrupted.done, second.done) == (["a"], ["b", "c"])


@pytest.mark.parametrize("basis", [(), ({"size": 4},), ({"size": 3}, "model")])
async def test_units_that_follow_from_something_else_are_others(of, basis):
    work = Work()
    await work.all(of({"size": 3}), "a")
    await work.all(of(*basis), "a")
    await work.all(of({"size": 3}, name="other"), "a")
    assert work.done == ["a"] * 3


async def test_what_was_measured_on_other_code_is_not_taken_over(of, code):
    work = Work()
    await work.all(of(), "a")
    code[0] = "two"
    await work.all(of(), "a")
    assert work.done == ["a", "a"]


async def test_nor_what_was_measured_under_other_packages_or_on_another_machine(of, monkeypatch):
    work = Work()
    await work.all(of(), "a")
    monkeypatch.setattr(finished, "machine", lambda: {"cores": 1_000})
    await work.all(of(), "a")
    monkeypatch.setattr(finished, "distributions", lambda: [SimpleNamespace(name="torch", version="0")])
    await work.all(of(), "a")
    assert work.done == ["a"] * 3


async def test_what_is_measured_while_the_source_changes_is_told_and_not_kept(of, code, caplog, tmp_path):
    kept, work = of(), Work()
    code[0] = "two"
    assert [one.name for one in await work.all(kept, "a")] == ["a"]
    assert "not kept: the source" in caplog.text
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("text", ["", '{"commit": "c", "at": "t", "val', "[]", '{"value": {}}', "\0"])
async def test_a_damaged_file_is_measured_anew(of, tmp_path, text):
    work = Work()
    await work.all(of(), "a")
    (path,) = tmp_path.rglob("*.json")
    whole = path.read_text()
    path.write_text(text)
    assert [one.name for one in await work.all(of(), "a")] == ["a"]
    assert work.done == ["a", "a"]
    assert json.loads(path.read_text())["value"] == json.loads(whole)["value"]


async def test_a_value_of_another_form_is_measured_anew(of):
    of().keep(dict[str, int], {"row": "a"}, {"a": 1})
    work = Work()
    await work.all(of(), "a")
    assert work.done == ["a"]


async def test_nobody_else_reads_it_and_no_draft_stays(of, tmp_path):
    await Work().all(of(), "a")
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_folder_that_cannot_be_written_costs_the_unit_alone(of, tmp_path, caplog):
    (tmp_path / "bench").write_text("no folder")
    assert [one.name for one in await Work().all(of(), "a")] == ["a"]
    assert "not kept: " in caplog.text


async def test_of_each_unit_the_commit_and_time_of_its_measuring_are_told(of, monkeypatch):
    monkeypatch.setattr(finished, "commit", lambda: "c1")
    first = of()
    await Work().all(first, "a")
    monkeypatch.setattr(finished, "commit", lambda: "c2")
    second = of()
    monkeypatch.setattr(finished, "commit", lambda: "c3")  # what is committed meanwhile measured nothing
    await Work().all(second, "ab")
    assert second.units[0] == first.units[0]
    assert [(one["row"], one["commit"]) for one in second.units] == [("a", "c1"), ("b", "c2")]


async def test_what_units_follow_from_besides_is_told_later_and_the_source_stays_that_of_the_start(of, code, tmp_path):
    kept, work = of(), Work()
    for basis in ((), ("model",), ("other",), ("model",)):
        await work.all(kept.also(*basis), "a")
    assert work.done == ["a"] * 3
    assert len(kept.units) == 4
    code[0] = "two"
    await work.all(kept.also("third"), "a")
    assert len(list(tmp_path.rglob("*.json"))) == 3


def test_contents_are_names_and_bytes_of_files_and_neither_notes_nor_results_nor_their_report(tmp_path):
    seen = set()
    for name, text in (("a.py", "x"), ("a.py", "y"), ("b/a.py", "x"), ("empty", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        seen.add(contents(tmp_path))
    assert len(seen) == 4
    for name in ("__pycache__/a.pyc", "results/a.json", "report/pages.py", "tofu/figures.py", "LOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("z")
    assert contents(tmp_path) in seen


def test_the_source_is_all_that_is_measured_and_what_the_harness_imports_to_measure_it():
    assert all((finished.ROOT / name / "__init__.py").is_file() for name in finished._MEASURED)
    assert finished.source("tofu") == finished.source("tofu") != finished.source("leak")
    of_tofu = {path.relative_to(finished.ROOT / "bench").as_posix() for path in finished.imported("tofu")}
    assert {"finished.py", "tofu/__init__.py", "tofu/run.py", "tofu/subjects.py", "metrics/leak.py"} <= of_tofu
    assert not [name for name in of_tofu if name.startswith(("report/", "leak", "muse", "load/")) or "figures" in name]


def test_a_module_that_is_half_written_is_another_and_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(finished, "ROOT", tmp_path)
    monkeypatch.setattr(finished, "_MEASURED", ())
    for name, text in (("__init__", ""), ("a", "import bench.b"), ("b", "x = 1")):
        (tmp_path / "bench").mkdir(exist_ok=True)
        (tmp_path / f"bench/{name}.py").write_text(text)
    whole = finished.source("a")
    (tmp_path / "bench/a.py").write_text("import bench.b\ndef f(")
    assert finished.source("a") != whole
    assert "a.py" in {path.name for path in finished.imported("a")}


@pytest.mark.parametrize("name", ["tofu", "uld"])
def test_of_a_harness_all_that_it_loads_of_bench_is_found(name):
    code = f"import sys, {HARNESSES[name]}; print(*(one for one in sys.modules if one.split('.')[0] == 'bench'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=finished.ROOT)
    found = {".".join(path.relative_to(finished.ROOT).with_suffix("").parts) for path in finished.imported(name)}
    lacking = {one for one in told.stdout.split() if not {one, f"{one}.__init__"} & found}
    after = {"report", "figures", "enforced"}  # what comes of units; of TOFU the last is for figures alone
    assert all(after & {*one.split(".")} for one in lacking), lacking


@pytest.mark.parametrize(
    "row",
    [
        Row(
            "eco",
            1,
            (Mark("alias", True, False, 1, (True, False), None),),
            (Drawn("p1", 1, 2, 3),),
            Counter({"eco, enforced": 5}),
            {"eco": 0, "pass": 7},
        ),
        marks.Row(
            "bare",
            1,
            (marks.Recited("p1", 0.5),),
            (marks.Mark("p1", 0.5, True),),
            (),
            ("p1",),
            (0.1,),
            (0.2,),
            Counter(),
            {"pass": 7},
        ),
        growing.Grown(
            "eco",
            1,
            (3, 13),
            Matrix((50, 50), (0, 0), ((1, 2), (3,))),
            (1.0, 0.5, 0.25),
            ({"eco, enforced": 3}, {"eco, enforced": 9, "ignorance, failed": 1}),
            ({"eco": 0, "pass": 7}, {"eco": 3}),
        ),
        wmdp.Row("eco", 1, {"topic": [("p1 pet", 1.0)]}, "eco, enforced", {"eco": 0, "pass": 7}),
    ],
    ids=lambda row: type(row).__module__,
)
def test_rows_of_harnesses_come_back_as_they_were(of, row):
    of().keep(type(row), {"row": "r"}, row)
    found = of().find(type(row), {"row": "r"})
    assert found == row
