import io
import json
import math

import pytest
from rich.console import Console

from bench.guard import run
from bench.guard.report import show
from bench.guard.run import FORGET10, figures_of, sampled
from bench.omniscient import FULL, Outcome, Probe, Round, rows
from bench.probes import rwku
from gateway.settings import Settings, SettingsError

ABOUT = frozenset({"r"})


def many(kind, failures, n, *, about=frozenset(), apart=""):
    """`n` outcomes of a kind, of which so many failed."""
    stages = ("dense", None) if about else (None, "dense")
    probe = Probe(kind, ("q",), "a", about, apart)
    return [Outcome(probe, stages[i < failures], own=True) for i in range(n)]


def held(figures):
    return {one.name.partition(": ")[2] or one.name: one for one in figures}


def test_figures_of_people():
    found = [
        *many("cloze", 1, 100, about=ABOUT),
        *many("reverse", 2, 10, about=ABOUT),
        *many(rwku.OTHERS, 1, 200),
        *many(rwku.NEIGHBOURS[0], 4, 90),
        *many(rwku.NEIGHBOURS[1], 10, 10, apart="names somebody"),
    ]
    figures = held(figures_of({("RWKU", FULL.name, 1.0): found}))
    assert figures["leak over all probes"].value == pytest.approx(100 * 3 / 110, abs=1e-3)
    assert figures["leak in the worst type"].value == 20
    assert (figures["other people's questions lost"].value, figures["other people's questions lost"].holds) == (
        0.5,
        True,
    )
    assert figures["neighbours lost"].value == 14
    assert figures["neighbours lost that could be answered at all"].value == pytest.approx(100 * 4 / 90, abs=1e-3)


def test_figures_of_authors_tell_input_from_output():
    found = many("paraphrase", 0, 9, about=ABOUT)
    found.append(Outcome(Probe("paraphrase", ("q",), "a", ABOUT), "output", own=True))
    found += [*many("other authors", 1, 1000), *many("world facts", 1, 10)]
    figures = held(figures_of({(FORGET10, FULL.name, 1.0): found}))
    assert (figures["recall"].value, figures["recall of the input guards alone"].value) == (1.0, 0.9)
    assert figures["other authors' questions lost"].holds
    assert not figures["real authors and world facts lost"].holds


def test_figures_of_disguises_are_measured_against_plain_ones():
    found = [*many("plain", 0, 10, about=ABOUT), *many("leet", 1, 10, about=ABOUT)]
    found += [*many("plain", 1, 10), *many("leet", 3, 10)]
    figures = {one.name: one for one in figures_of({(f"{FORGET10}, disguised", FULL.name, 1.0): found})}
    assert figures["disguise leet: caught"].value == 0.9
    assert figures["disguised benign prompts lost beyond plain ones, worst disguise"].value == pytest.approx(20)


def test_a_group_without_probes_never_holds():
    figures = held(figures_of({("RWKU", FULL.name, 1.0): many("cloze", 0, 5, about=ABOUT)}))
    assert math.isnan(figures["neighbours lost"].value)
    assert not figures["neighbours lost"].holds


async def test_nothing_is_measured_without_data_and_those_are_named(tmp_path):
    settings = Settings(state_dir=tmp_path).model_copy(update={"data_dir": tmp_path})  # the environment wins otherwise
    with pytest.raises(SettingsError, match=r"no data of TOFU, RWKU, PISTOL in .*LETHE_DATA_DIR"):
        await run.measure(settings, True, Console(quiet=True))


@pytest.mark.parametrize("lost", ["CPU time of decisions measured", "speed of decisions measured"])
async def test_what_was_judged_is_not_lost_where_it_cannot_be_timed(tmp_path, monkeypatch, counting, lost):
    async def encoder(settings, threads):
        return counting

    async def of(encoder):
        return None

    async def judged(rounds, tried, encoder, background, advance):
        return {(one.family, FULL.name, 1.0): many("cloze", 1, 10, about=ABOUT) for one in rounds}

    async def cpu(*_):
        if lost.startswith("CPU"):
            raise MemoryError
        return {}

    async def speed(*_):
        if lost.startswith("speed"):
            raise MemoryError
        return [], {}

    monkeypatch.setattr(run, "measured_rounds", lambda *_: [Round("RWKU", "round 0", (), ())])
    monkeypatch.setattr(run, "_encoder", encoder)
    monkeypatch.setattr(run.Background, "of", of)
    for name, instead in (("evaluate", judged), ("cpu_ms", cpu), ("measure_speed", speed)):
        monkeypatch.setattr(run, name, instead)
    found = await run.measure(Settings(state_dir=tmp_path), True, Console(quiet=True))
    assert held(found.figures)["leak over all probes"].value == 10
    assert [one.name for one in found.figures if one.name.endswith("measured")] == [lost]
    assert not held(found.figures)[lost].holds


def test_a_sample_is_the_same_every_time_and_never_more_than_there_is():
    probes = [Probe("k", (str(i),), "a", ABOUT if i % 2 else frozenset()) for i in range(20)]
    one = Round("f", "n", (), tuple(probes))
    assert sampled(one, 5, 3) == sampled(one, 5, 3)
    assert len(sampled(one, 5, 3).probes) == 8
    assert set(sampled(one, 99, 99).probes) == set(probes)


def test_rows_are_shown_whatever_is_in_them():
    found = rows("RWKU", "full", many("cloze | gap", 1, 4, about=ABOUT, apart="names somebody"))
    console = Console(record=True, width=170, file=io.StringIO())
    show(console, "RWKU", found)
    (row,) = (line for line in console.export_text().splitlines() if "cloze" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][:4] == ["leak", "cloze | gap", "4", "25.00"]
    assert "1 of 4 names somebody" in row
    json.dumps(found)
