import inspect
import json
import os
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import pytest
from rich.console import Console

import bench.run
from bench.result import Figure, Result
from bench.run import HARNESSES, UnknownBenchmark, run
from gateway.settings import Settings, SettingsError
from guards.base import LetheError


async def measuring(name, settings, quick, console):
    """Nothing, here or in a process of its own."""
    import torch

    config = {"quick": quick, "process": os.getpid(), "threads": torch.get_num_threads()}
    return Result(name, config, 0, [Figure("f", 1, "", "", name == "good")], {})


async def ending(settings, quick, console):
    """As a harness whose process is killed."""
    os._exit(9)


@pytest.fixture
def code(monkeypatch):
    """The source as it is now; a test may change it."""
    now = ["one"]
    monkeypatch.setattr(bench.run, "source", lambda *_: now[0])
    monkeypatch.setattr(bench.run, "commit", lambda: f"c-{now[0]}")
    return now


@pytest.fixture
def written(monkeypatch, tmp_path, code):
    """Two harnesses that measure nothing; what was written, in order."""
    made, write = [], Result.write

    def counted(self, folder, commit):
        path = write(self, folder, commit)
        made.append(self.name)
        return path

    def report(results, docs):
        made.append("report")
        return [docs / "benchmarks.md", docs / "benchmarks.html"]

    monkeypatch.setattr(Result, "write", counted)
    modules = {f"x.{one}": SimpleNamespace(measure=partial(measuring, one)) for one in ("good", "bad")}
    monkeypatch.setattr(bench.run, "HARNESSES", {"good": "x.good", "bad": "x.bad"})
    monkeypatch.setattr(bench.run, "import_module", modules.__getitem__)
    monkeypatch.setattr(bench.run, "write", report)
    monkeypatch.setattr(bench.run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(bench.run, "DOCS", tmp_path / "docs")
    return made


@pytest.fixture
def settings(tmp_path):
    return Settings().model_copy(update={"state_dir": tmp_path / "state"})  # the environment wins otherwise


@pytest.fixture
def also(written, monkeypatch):
    """Puts another harness before that which is good."""

    def put(name, measure):
        known = bench.run.import_module
        lacking = SimpleNamespace(measure=measure)
        monkeypatch.setattr(bench.run, "HARNESSES", {name: f"x.{name}", "good": "x.good"})
        monkeypatch.setattr(bench.run, "import_module", lambda one: lacking if one == f"x.{name}" else known(one))

    return put


@pytest.mark.parametrize(
    ("name", "made", "held"),
    [("good", ["good"], True), ("all", ["good", "bad", "report"], False), ("report", ["report"], True)],
)
def test_the_report_is_made_by_itself_and_after_all(written, settings, name, made, held):
    assert run(name, settings, quick=False, as_json=False, console=Console(quiet=True)) is held
    assert written == made


@pytest.mark.parametrize(
    "error",
    [LetheError("there is no such data"), KeyError("there is no such data"), ExceptionGroup("no data", [OSError()])],
)
def test_of_all_one_that_cannot_be_run_is_told_and_the_others_are(written, settings, also, capsys, error):
    async def measure(settings, quick, console):
        raise error

    also("lacking", measure)
    assert run("all", settings, quick=False, as_json=False, console=Console(soft_wrap=True)) is False
    assert written == ["good", "report"]
    assert f"lacking was not measured: {type(error).__name__}: {error}" in capsys.readouterr().out
    with pytest.raises(type(error)):
        run("lacking", settings, quick=True, as_json=False, console=Console(quiet=True))


def test_of_all_one_that_cannot_be_written_costs_itself_alone(written, settings, also):
    async def measure(settings, quick, console):
        return Result("odd", {"what": object()}, 0, [], {})

    also("odd", measure)
    assert run("all", settings, quick=False, as_json=False, console=Console(quiet=True)) is False
    assert written == ["good", "report"]


def test_what_is_measured_takes_its_results_place(written, settings, tmp_path, capsys):
    run("all", settings, quick=False, as_json=False, console=Console())
    said = capsys.readouterr().out
    assert f"written: {tmp_path / 'results/good.json'}\n" in said
    assert f"written: {tmp_path / 'docs/benchmarks.md'}, benchmarks.html" in said
    assert json.loads((tmp_path / "results/good.json").read_text())["config"]["quick"] is False


def test_all_quick_ones_are_measured_in_processes_of_their_own_and_take_no_results_place(
    written, settings, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert not run("all", settings, quick=True, as_json=False, console=Console())
    folder, said = tmp_path / "state/bench/quick", capsys.readouterr().out
    assert f"written: {folder / 'good.json'}\n" in said
    assert f"written: {folder / 'report/benchmarks.md'}, benchmarks.html" in said
    assert not (tmp_path / "results").exists()
    found = [json.loads((folder / f"{one}.json").read_text())["config"] for one in ("good", "bad")]
    assert sorted(written[:2]) == ["bad", "good"]
    assert written[2:] == ["report"]
    assert len({os.getpid()} | {one["process"] for one in found}) == 3
    assert [(one["quick"], one["threads"]) for one in found] == [(True, 1)] * 2


def test_of_all_quick_ones_a_process_that_dies_is_told(written, settings, also, capsys):
    also("lacking", ending)
    assert run("all", settings, quick=True, as_json=False, console=Console(soft_wrap=True)) is False
    assert written == ["good", "report"]
    assert "lacking was not measured: BrokenProcessPool" in capsys.readouterr().out


def test_a_result_is_of_the_commit_at_the_start_and_dirty_where_the_source_is_another_by_its_end(
    also, settings, tmp_path, code
):
    async def measure(settings, quick, console):
        code[0] = "two"
        return Result("slow", {}, 0, [], {})

    also("slow", measure)
    run("good", settings, quick=False, as_json=False, console=Console(quiet=True))
    run("slow", settings, quick=False, as_json=False, console=Console(quiet=True))
    commits = [json.loads((tmp_path / f"results/{name}.json").read_text())["commit"] for name in ("good", "slow")]
    assert commits == ["c-one", "c-one-dirty"]


def test_a_result_is_written_though_a_file_of_its_source_goes_just_then(also, settings, tmp_path, code, monkeypatch):
    def source(*_):
        if code[0] == "gone":
            raise FileNotFoundError
        return code[0]

    async def measure(settings, quick, console):
        code[0] = "gone"
        return Result("slow", {}, 0, [], {})

    monkeypatch.setattr(bench.run, "source", source)
    also("slow", measure)
    run("slow", settings, quick=False, as_json=False, console=Console(quiet=True))
    assert json.loads((tmp_path / "results/slow.json").read_text())["commit"] == "c-one-dirty"


def test_as_json_nothing_else_is_printed(written, settings, capsys):
    run("good", settings, quick=True, as_json=True, console=Console())
    assert json.loads(capsys.readouterr().out)[0]["name"] == "f"


def test_an_unknown_name_names_those_there_are(written, settings):
    with pytest.raises(UnknownBenchmark, match="all, report, good, bad"):
        run("none", settings, quick=True, as_json=False, console=Console(quiet=True))


def test_how_many_sets_is_told_to_those_that_have_them(monkeypatch, settings, code):
    told = []

    async def measure(settings, quick, console, seeds=None):
        told.append(seeds)
        return Result("leak", {}, 0, [], {})

    monkeypatch.setattr(bench.run, "import_module", lambda name: SimpleNamespace(measure=measure))
    monkeypatch.setattr(Result, "write", lambda self, folder, commit: folder)
    for seeds in (None, 2):
        assert run("leak", settings, quick=False, as_json=False, console=Console(quiet=True), seeds=seeds)
    assert told == [None, 2]


def test_a_harness_without_models_of_its_own_takes_none(written, settings, tmp_path):
    for name, given, why in (
        ("good", {"model": tmp_path}, "good takes no --model"),
        ("good", {"seeds": 1}, "good is measured whole"),
        ("all", {"seeds": 1}, "good is measured whole"),
        ("report", {"seeds": 1}, "report is of what was measured"),
    ):
        with pytest.raises(SettingsError, match=why):
            run(name, settings, quick=True, as_json=False, console=Console(quiet=True), **given)
    assert written == []


def test_nothing_is_measured_before_all_that_was_given_can_be_taken(written, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(bench.run, "_IN_SETS", ("good",))
    with pytest.raises(SettingsError, match="bad is measured whole"):
        run("all", settings, quick=True, as_json=False, console=Console(quiet=True), seeds=1)
    assert written == []


@pytest.mark.parametrize("name", HARNESSES)
def test_every_harness_is_there_and_takes_what_it_is_told(name):
    measure = import_module(HARNESSES[name]).measure
    assert inspect.iscoroutinefunction(measure)
    more = {"seeds"} if name in bench.run._IN_SETS else {"part"} if name == "tofu" else set()
    assert inspect.signature(measure).parameters.keys() == {"settings", "quick", "console", *more}
