"""`lethe bench NAME`: finds the harness, runs it, writes and shows its result."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from importlib import import_module

from rich.console import Console

from bench.result import Result
from gateway.settings import Settings
from guards.base import LetheError

HARNESSES = {
    "eco": "bench.eco",
    "guard": "bench.guard",
    "leak": "bench.leak",
    "load": "bench.load.run",
    "o3": "bench.o3",
    "replay": "bench.replay",
    "uld": "bench.uld",
}

Harness = Callable[[Settings, bool, Console], Coroutine[None, None, Result]]


class UnknownBenchmark(LetheError):
    """No harness by that name."""


def run(name: str, settings: Settings, *, quick: bool, as_json: bool, console: Console) -> bool:
    """Whether every figure holds.

    Raises:
        UnknownBenchmark: the message names those that there are.
    """
    if name != "all" and name not in HARNESSES:
        raise UnknownBenchmark(f"no benchmark is called {name}; there are: all, {', '.join(HARNESSES)}")
    held = True
    for one in HARNESSES if name == "all" else (name,):
        harness: Harness = import_module(HARNESSES[one]).measure
        result = asyncio.run(harness(settings, quick, console))
        result.write()
        if as_json:
            print(json.dumps([asdict(figure) for figure in result.figures], indent=2))
        else:
            result.show(console)
        held &= all(figure.holds for figure in result.figures)
    return held
