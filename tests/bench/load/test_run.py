import asyncio

import pytest
from rich.console import Console

from bench.load.eco import Cost
from bench.load.run import _RATIOS, _ratios, _real, _servers, _short, measure
from bench.load.servers import ServerError
from bench.load.side_by_side import Found
from bench.load.stage import running
from bench.load.timing import Told
from bench.serving import NoVllm
from gateway.settings import Settings


def _found():
    found = Found()
    for i in range(3):
        for name, value in (("direct", 1.0), ("gateway", 2.0 + 0.01 * i), ("litellm", 6.0)):
            found.note(name, [], whole_ms=[value] * 4, first_ms=[value] * 4, stream_cpu_ms=[value])
            if name != "direct":
                for kind in ("streams", "wholes"):
                    found.note(name, [], **{f"{kind}_a_second": [value], f"{kind}_at_rate_ms": [value] * 4})
    return found


def test_every_ratio_has_its_figure_and_its_interval():
    figures, rows = _ratios(_found())
    assert [figure.name for figure in figures] == [row["figure"] for row in rows] == [ratio[0] for ratio in _RATIOS]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert [figure.holds for figure in figures] == [True, True, True, False, False, True, True]


def test_a_server_has_percentiles_of_what_was_measured_by_request():
    rows = {row["server"]: row for row in _servers(_found(), {"direct": 10**6, "gateway": 2 * 10**6, "litellm": 10**7})}
    assert (rows["gateway"]["whole_ms p50"], rows["gateway"]["wholes_at_rate_ms p99"]) == (2.01, 2.02)
    assert rows["gateway"]["stream_cpu_ms"] == 2.01
    assert "streams_a_second" not in rows["direct"]
    assert rows["litellm"]["resident_mb"] == 10


def test_the_clock_is_judged_by_the_stricter_test_and_the_control_is_not():
    cost = Cost((0.99, 0.98, 1.0), (12.0, 11.0, 13.0), 200, 10, 0)
    told = Told("first", False, 500, 30.0, 29.0, 0.52, 0.3, 0.005)
    figures = _real(cost, [told, Told("first", True, 500, 30.0, 29.0, 0.5, 0.0, 0.0)])
    assert [(figure.value, figure.holds) for figure in figures] == [(0.99, True), (12.0, False), (0.005, False)]


def test_numbers_are_short():
    assert _short((1.23456, 2, 3)) == {"value": 1.235, "low": 2, "high": 3}


async def test_nothing_begins_without_vllm(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_PYTHON", str(tmp_path / "python"))
    with pytest.raises(NoVllm, match="VLLM_PYTHON"):
        await measure(Settings(state_dir=tmp_path), True, Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_nothing_begins_where_a_program_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("LITELLM_PYTHON", str(tmp_path / "python"))

    async def begin():
        async with running(tmp_path):
            raise AssertionError

    with pytest.raises(ServerError, match="LITELLM_PYTHON"):
        asyncio.run(begin())
    assert not list(tmp_path.iterdir())
