"""`lethe bench load`: the gateway beside LiteLLM, a soak and an overload, then ECO and the clock on a real vLLM."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress

from bench.load.eco import Cost, cost
from bench.load.real import scene
from bench.load.servers import Footprint
from bench.load.side_by_side import Found, Statistic, added, compare, mean_ratio, p99_ratio
from bench.load.soak import Soaked, overload, soak, undecided
from bench.load.stage import running
from bench.load.timing import Told, told
from bench.result import Figure, Result
from bench.serving import vllm_python
from gateway.settings import Settings

Row = dict[str, Any]

_OVERLOAD = 10  # times what it can do
_RATIOS: tuple[tuple[str, str, Statistic, Literal["<=", ">=", "<"], float], ...] = (
    ("added latency of a whole answer, p50, share of LiteLLM's", "whole_ms", added, "<=", 0.35),
    ("added time to the first token of a stream, p50, share of LiteLLM's", "first_ms", added, "<=", 0.4),
    ("CPU per streamed request, share of LiteLLM's", "stream_cpu_ms", mean_ratio, "<=", 0.35),
    ("streams a second at saturation, times LiteLLM's", "streams_a_second", mean_ratio, ">=", 3),
    ("whole answers a second at saturation, times LiteLLM's", "wholes_a_second", mean_ratio, ">=", 3),
    ("p99 of streams at 40 requests/s, share of LiteLLM's", "streams_at_rate_ms", p99_ratio, "<", 1),
    ("p99 of whole answers at 40 requests/s, share of LiteLLM's", "wholes_at_rate_ms", p99_ratio, "<", 1),
)
_MEASURES = {"first": "time to the first token", "between": "time between events"}


async def measure(settings: Settings, quick: bool, console: Console) -> Result:
    """All figures of serving; quick is one short round, a soak of a twentieth and a tenth of the pairs.

    Raises:
        NoVllm: there is none, and nothing begins.
        ServerError: the same of LiteLLM; or a program did not start.
    """
    vllm_python()
    rounds, scale, requests, pairs = (1, 0.5, 1_000, 50) if quick else (6, 1.0, 20_000, 500)
    with Progress(console=console, transient=True) as bar:
        async with running(settings.models) as bench:
            counted = await bench.counted()
            found = await compare(bench, rounds, scale, bar)
            missing = undecided(counted, await bench.counted())
            memory = {name: Footprint.of(pid).resident for name, pid in bench.pids.items()}
        async with running(settings.models, beside=False) as bench:
            soaked = await soak(bench, requests, bar)
            hit = await overload(bench, _OVERLOAD * float(np.mean(found.of("wholes_a_second", "gateway"))), 5.0 * scale)
        async with scene(settings.models) as real:
            under_eco = await cost(real, pairs // 5, bar)
            clock, lost = await told(real, pairs, bar)
    figures, ratios = _ratios(found)
    failed = found.failed["gateway"].total() + soaked.asked - soaked.answered + under_eco.failed + lost
    figures += [
        *_real(under_eco, clock),
        Figure.of("requests that failed, overload left out", failed, "<=", 0),
        Figure.of("memory growth over the soak", 100 * soaked.growth, "<=", 5, "%"),
        Figure.of("file descriptors more after the soak than when it was warm", soaked.files, "<=", 0),
        Figure.of("answers that nothing was decided on", missing + soaked.undecided + hit.undecided, "<=", 0),
        Figure.of("answers to touched prompts in the upstream's words", soaked.leaked + hit.leaked, "<=", 0),
    ]
    tables: dict[str, Sequence[Row]] = {
        "servers": _servers(found, memory),
        "ratios": ratios,
        "soak": [_soaked(soaked)],
        "overload": [_rounded(asdict(hit))],
        "eco": [_rounded(asdict(under_eco))],
        "clock": [_rounded(asdict(one)) for one in clock],
    }
    config = {
        "quick": quick,
        "rounds": rounds,
        "cores": "one for the server that is asked, one for the driver and the mock upstream",
        "workers": 1,
        "answers": "64 tokens; paced: 10 ms to the first, 5 ms between",
        "driver_late_ms": round(found.late_ms, 2),
    }
    return Result("load", config, 0, figures, tables)


def _ratios(found: Found) -> tuple[list[Figure], list[Row]]:
    figures, rows = [], []
    for name, key, statistic, sense, goal in _RATIOS:
        value, low, high = found.interval(key, statistic)
        figures.append(Figure.of(name, value, sense, goal))
        rows.append({"figure": name, "value": round(value, 3), "low": round(low, 3), "high": round(high, 3)})
    return figures, rows


def _real(under_eco: Cost, clock: Sequence[Told]) -> list[Figure]:
    """What ECO costs on vLLM, and whether the clock tells."""
    speed = "decode speed under ECO, share of an untouched request's, by vLLM's own count"
    added_ = f"time to the first token that ECO adds at {under_eco.tokens} prompt tokens, p50"
    return [
        Figure.of(speed, under_eco.speed[0], ">=", 0.98),
        Figure.of(added_, under_eco.added_ms[0], "<=", 10, "ms"),
        *(
            Figure.of(
                f"touched against untouched, {_MEASURES[one.measure]}, {one.pairs} pairs: smaller p of two tests",
                min(one.rank_p, one.shape_p),
                ">=",
                0.01,
            )
            for one in clock
            if not one.control
        ),
    ]


def _servers(found: Found, memory: dict[str, int]) -> list[Row]:
    """A row a server: percentiles of latencies, means of the rest."""
    rows = []
    for server, resident in memory.items():
        row: Row = {"server": server, "resident_mb": round(resident / 1e6), "failed": dict(found.failed[server])}
        for key in found.values:
            if values := found.of(key, server):
                if len(values) > len(found.values[key][server]):  # one for each request
                    row |= {f"{key} p{q}": round(float(np.quantile(values, q / 100)), 2) for q in (50, 95, 99)}
                else:
                    row[key] = round(float(np.mean(values)), 2)
        rows.append(row)
    return rows


def _soaked(soaked: Soaked) -> Row:
    held = {
        f"{name}_{when}": getattr(footprint, name)
        for when, footprint in (("before", soaked.before), ("warm", soaked.warm), ("after", soaked.after))
        for name in ("resident", "files", "threads")
    }
    plain = {name: value for name, value in asdict(soaked).items() if not isinstance(value, dict)}
    return _rounded(plain) | held


def _rounded(row: Row) -> Row:
    return {name: _short(value) for name, value in row.items()}


def _short(value: Any) -> Any:
    """Floats to four digits; three of them are a number and its interval."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case (mean, low, high):
            return {"value": _short(mean), "low": _short(low), "high": _short(high)}
        case _:
            return value
