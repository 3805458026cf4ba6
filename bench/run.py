"""`lethe bench NAME`: finds the harness, runs it, writes and shows its result; `report` makes one page of all.

What is measured quickly is written to the state directory, and so is its report: it is no result that README or docs
could quote, and takes no such result's place. So all at once may be measured side by side, whatever becomes of times.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console

from bench.apart import Harness, apart
from bench.finished import source
from bench.report.pages import DOCS, write
from bench.result import DIRTY, RESULTS, Result, commit, to_json
from gateway.settings import Settings, SettingsError
from guards.base import LetheError

HARNESSES = {
    "eco": "bench.eco.run",
    "guard": "bench.guard.run",
    "leak": "bench.leak.run",
    "load": "bench.load.run",
    "muse": "bench.muse.run",
    "o3": "bench.o3.run",
    "replay": "bench.replay",
    "tofu": "bench.tofu.run",
    "uld": "bench.uld.run",
    "wmdp": "bench.wmdp.run",
}

_ALL, _REPORT = "all", "report"
_IN_SETS = ("leak", "muse", "uld", "wmdp")  # three, each by a seed of its own
_LONGEST = ("o3", "uld", "load")  # of quick ones: first, so that no core waits for them in the end

_log = logging.getLogger(__name__)


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
    rows: Sequence[str] = (),
    seeds: int | None = None,
) -> bool:
    """Whether every figure holds, and of `all` every benchmark could be run.

    Args:
        model, retain, splits, rows: for `tofu`, other models, and how much is measured: see `bench.tofu.run.part`.
        seeds: for `tofu`, and for those whose sets are seeds, how many are measured.

    Raises:
        UnknownBenchmark: the message names those that there are.
        SettingsError: these are given, and cannot be taken.
    """
    chosen = _chosen(name, model, retain, splits, rows, seeds)
    folder = settings.state_dir / "bench" / "quick" if quick else RESULTS
    at, code = commit(), source(*chosen)
    held = True
    for one, measured in _measured(chosen, settings, quick, console):
        try:
            result = measured()
            changed = _source(chosen) != code and not at.endswith(DIRTY)
            path = result.write(folder, f"{at}{DIRTY}" if changed else at)
        except Exception as error:  # the others do without it, and hours of theirs are not lost
            if name != _ALL:
                raise
            if not isinstance(error, LetheError):
                _log.exception("%s", one)
            console.print(f"{one} was not measured: {type(error).__name__}: {error}", markup=False)
            held = False
            continue
        if as_json:
            print(to_json([asdict(figure) for figure in result.figures]))
        else:
            result.show(console)
            console.print(f"written: {path}", highlight=False, soft_wrap=True)
        held &= all(figure.holds for figure in result.figures)
    if name in (_ALL, _REPORT):
        made = write(folder, folder / "report" if quick else DOCS)
        if not as_json:
            said = f"written: {made[0]}, {made[1].name} and {len(made) - 2} pictures"
            console.print(said, highlight=False, soft_wrap=True)
    return held


def _source(chosen: Iterable[str]) -> str:
    """The hash of their source; none where a file goes while it is read: what was measured is not lost by that."""
    try:
        return source(*chosen)
    except OSError:
        return ""


def _measured(
    chosen: Mapping[str, Harness], settings: Settings, quick: bool, console: Console
) -> Iterator[tuple[str, Callable[[], Result]]]:
    """Each in its turn, to be measured then; several quick ones as they end, measured in processes of their own."""
    if not quick or len(chosen) == 1:
        for one, harness in chosen.items():
            yield one, partial(_measure, harness, settings, quick, console)
        return
    longest_first = [*(one for one in _LONGEST if one in chosen), *(one for one in chosen if one not in _LONGEST)]
    yield from apart({one: chosen[one] for one in longest_first}, settings)


def _measure(harness: Harness, settings: Settings, quick: bool, console: Console) -> Result:
    return asyncio.run(harness(settings, quick, console))


def _chosen(
    name: str,
    model: Path | None,
    retain: Sequence[str],
    splits: Sequence[str],
    rows: Sequence[str],
    seeds: int | None,
) -> Mapping[str, Harness]:
    """The harnesses of a name, each told what it is given: nothing is measured before all can take it."""
    if name not in (_ALL, _REPORT, *HARNESSES):
        raise UnknownBenchmark(f"no benchmark is called {name}; there are: all, report, {', '.join(HARNESSES)}")
    of_tofu = bool(model or retain or splits or rows)
    if name == _REPORT and (of_tofu or seeds):
        raise SettingsError(
            "report is of what was measured: --model, --retain, --split, --row and --seeds are for others"
        )
    found: dict[str, Harness] = {}
    for one in HARNESSES if name == _ALL else {name} - {_REPORT}:
        module = import_module(HARNESSES[one])
        if one == "tofu":
            found[one] = partial(module.measure, part=module.part(model, retain, splits, rows, seeds))
        elif of_tofu:
            raise SettingsError(f"{one} takes no --model, --retain, --split or --row: these are for tofu")
        elif seeds and one not in _IN_SETS:
            raise SettingsError(f"{one} is measured whole: --seeds is for tofu, {', '.join(_IN_SETS)}")
        else:
            found[one] = partial(module.measure, seeds=seeds) if seeds else module.measure
    return found
