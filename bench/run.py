"""`lethe bench NAME`: finds the harness, runs it, writes and shows its result; `report` makes one page of all."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console

from bench.report.pages import write
from bench.result import Result
from gateway.settings import Settings, SettingsError
from guards.base import LetheError

HARNESSES = {
    "eco": "bench.eco",
    "guard": "bench.guard",
    "leak": "bench.leak",
    "load": "bench.load.run",
    "muse": "bench.muse",
    "o3": "bench.o3",
    "replay": "bench.replay",
    "tofu": "bench.tofu.run",
    "uld": "bench.uld",
    "wmdp": "bench.wmdp",
}

_ALL, _REPORT = "all", "report"
_IN_SETS = ("leak", "muse", "uld", "wmdp")  # three, each by a seed of its own

Harness = Callable[..., Coroutine[None, None, Result]]  # settings, whether quick, console; `part` or `seeds` of some


class UnknownBenchmark(LetheError):
    """No harness by that name."""


def run(
    name: str,
    settings: Settings,
    *,
    quick: bool,
    as_json: bool,
    console: Console,
    model: Path | None = None,
    retain: Sequence[str] = (),
    splits: Sequence[str] = (),
    seeds: int | None = None,
) -> bool:
    """Whether every figure holds, and of `all` every benchmark could be run.

    Args:
        model, retain, splits: for `tofu`, other models, and how much is measured: see `bench.tofu.run.part`.
        seeds: for `tofu`, and for those whose sets are seeds, how many are measured.

    Raises:
        UnknownBenchmark: the message names those that there are.
        SettingsError: these are given, and cannot be taken.
    """
    if name not in (_ALL, _REPORT, *HARNESSES):
        raise UnknownBenchmark(f"no benchmark is called {name}; there are: all, report, {', '.join(HARNESSES)}")
    of_tofu = bool(model or retain or splits)
    if name == _REPORT and (of_tofu or seeds):
        raise SettingsError("report is of what was measured: --model, --retain, --split and --seeds are for others")
    held = True
    for one in HARNESSES if name == _ALL else {name} - {_REPORT}:
        module = import_module(HARNESSES[one])
        harness: Harness = module.measure
        if one == "tofu":
            harness = partial(harness, part=module.part(model, retain, splits, seeds))
        elif of_tofu:
            raise SettingsError(f"{one} takes no --model, --retain or --split: these are for tofu")
        elif seeds and one not in _IN_SETS:
            raise SettingsError(f"{one} is measured whole: --seeds is for tofu, {', '.join(_IN_SETS)}")
        elif seeds:
            harness = partial(harness, seeds=seeds)
        try:
            result = asyncio.run(harness(settings, quick, console))
        except LetheError as error:  # data or a program that is not there: the others do without
            if name != _ALL:
                raise
            console.print(f"{one} was not measured: {error}", markup=False)
            held = False
            continue
        result.write()
        if as_json:
            print(json.dumps([asdict(figure) for figure in result.figures], indent=2))
        else:
            result.show(console)
        held &= all(figure.holds for figure in result.figures)
    if name in (_ALL, _REPORT):
        made = write()
        if not as_json:
            console.print(f"written: {made[0]}, {made[1].name} and {len(made) - 2} pictures", highlight=False)
    return held
