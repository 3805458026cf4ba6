import json
from types import SimpleNamespace

import pytest
from rich.console import Console

import bench.run
from bench.result import Figure, Result
from bench.run import UnknownBenchmark, run
from gateway.settings import Settings, SettingsError
from guards.base import LetheError


@pytest.fixture
def written(monkeypatch, tmp_path):
    """Two harnesses that measure nothing; what was written, in order."""
    made = []

    class Written(Result):
        def write(self):
            made.append(self.name)
            return tmp_path / self.name

    def harness(name, holds):
        async def measure(settings, quick, console):
            return Written(name, {"quick": quick}, 0, [Figure("f", 1, "", "", holds)], {})

        return type("Module", (), {"measure": staticmethod(measure)})

    def report():
        made.append("report")
        return [tmp_path / "benchmarks.md", tmp_path / "benchmarks.html"]

    modules = {"x.good": harness("good", True), "x.bad": harness("bad", False)}
    monkeypatch.setattr(bench.run, "HARNESSES", {"good": "x.good", "bad": "x.bad"})
    monkeypatch.setattr(bench.run, "import_module", modules.__getitem__)
    monkeypatch.setattr(bench.run, "write", report)
    return made


@pytest.mark.parametrize(
    ("name", "made", "held"),
    [("good", ["good"], True), ("all", ["good", "bad", "report"], False), ("report", ["report"], True)],
)
def test_the_report_is_made_by_itself_and_after_all(written, name, made, held):
    assert run(name, Settings(), quick=True, as_json=False, console=Console(quiet=True)) is held
    assert written == made


def test_of_all_one_that_cannot_be_run_is_told_and_the_others_are(written, monkeypatch, capsys):
    async def measure(settings, quick, console):
        raise LetheError("there is no such data")

    lacking = type("Module", (), {"measure": staticmethod(measure)})
    known = bench.run.import_module
    monkeypatch.setattr(bench.run, "HARNESSES", {"lacking": "x.lacking", "good": "x.good"})
    monkeypatch.setattr(bench.run, "import_module", lambda name: lacking if name == "x.lacking" else known(name))
    assert run("all", Settings(), quick=True, as_json=False, console=Console()) is False
    assert written == ["good", "report"]
    assert "lacking was not measured: there is no such data" in capsys.readouterr().out
    with pytest.raises(LetheError):
        run("lacking", Settings(), quick=True, as_json=False, console=Console(quiet=True))


def test_as_json_nothing_else_is_printed(written, capsys):
    run("good", Settings(), quick=True, as_json=True, console=Console())
    assert json.loads(capsys.readouterr().out)[0]["name"] == "f"


def test_an_unknown_name_names_those_there_are(written):
    with pytest.raises(UnknownBenchmark, match="all, report, good, bad"):
        run("none", Settings(), quick=True, as_json=False, console=Console(quiet=True))


def test_how_many_sets_is_told_to_those_that_have_them(monkeypatch):
    told = []

    async def measure(settings, quick, console, seeds=None):
        told.append(seeds)
        return Result("leak", {}, 0, [], {})

    monkeypatch.setattr(bench.run, "import_module", lambda name: SimpleNamespace(measure=measure))
    monkeypatch.setattr(Result, "write", lambda self: None)
    for seeds in (None, 2):
        assert run("leak", Settings(), quick=False, as_json=False, console=Console(quiet=True), seeds=seeds)
    assert told == [None, 2]


def test_a_harness_without_models_of_its_own_takes_none(written, tmp_path):
    with pytest.raises(SettingsError, match="good takes no --model"):
        run("good", Settings(), quick=True, as_json=False, console=Console(quiet=True), model=tmp_path)
    with pytest.raises(SettingsError, match="good is measured whole"):
        run("good", Settings(), quick=True, as_json=False, console=Console(quiet=True), seeds=1)
    with pytest.raises(SettingsError, match="report is of what was measured"):
        run("report", Settings(), quick=True, as_json=False, console=Console(quiet=True), seeds=1)
    assert written == []
