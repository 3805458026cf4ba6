"""What a benchmark found: tables, and one figure for each that was asked for, honestly false where it does not hold."""

import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"

DIRTY = "-dirty"  # behind the commit of source that differs from it

_OUTPUTS = ("bench/results", "docs", "*.md")  # what is made of results, or said beside them, is no source


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and its goal, such as `<= 1.0`; what is not known is NaN, and holds for no goal."""

    name: str
    value: float
    unit: str
    goal: str
    holds: bool

    def __post_init__(self) -> None:
        if self.value is None:  # as a file says it
            object.__setattr__(self, "value", math.nan)

    @classmethod
    def of(
        cls, name: str, value: float, sense: Literal["<=", ">=", "<", ">", "±"], goal: float, unit: str = ""
    ) -> "Figure":
        """A figure that holds when value `sense` goal; ±: when it is no further from nought, on either side."""
        holds = {
            "<=": value <= goal,
            ">=": value >= goal,
            "<": value < goal,
            ">": value > goal,
            "±": abs(value) <= goal,
        }[sense]
        near = round(value, 4) if abs(value) >= 1e-3 else float(f"{value:.4g}")  # a tiny p is not nought
        return cls(name, near, unit, f"{sense} {goal:g}", holds and math.isfinite(value))


def farthest(gaps: Iterable[float], goal: float) -> float:
    """Of differences from a model that never knew: the highest, if it leaks more than the goal allows, else the one
    farthest from nought; nought where there are none. So no leak hides behind another's silence."""
    every = [0.0, *gaps]
    return max(every) if max(every) > goal else max(every, key=abs)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a benchmark wants to say. `tables` are lists of rows by title."""

    name: str
    config: Mapping[str, Any]
    seed: int
    figures: Sequence[Figure]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]

    def write(self, folder: Path, commit: str) -> Path:
        """NAME.json in a folder, whole or not at all, with the commit that was measured and the machine."""
        path = folder / f"{self.name}.json"
        whole = {
            "name": self.name,
            "commit": commit,
            "config": dict(self.config),
            "seed": self.seed,
            "machine": machine(),
            "figures": [asdict(figure) for figure in self.figures],
            **self.tables,
        }
        write_whole(path, to_json(whole) + "\n", 0o644)
        return path

    def show(self, console: Console) -> None:
        """The figures as a table."""
        table = Table("figure", "value", "unit", "goal", "holds", title=self.name)
        for one in self.figures:
            known = f"{one.value:g}" if math.isfinite(one.value) else "not known"
            table.add_row(one.name, known, one.unit, one.goal, "[green]yes[/]" if one.holds else "[red]no[/]")
        console.print(table)


def to_json(value: Any) -> str:
    """Of numbers that are not finite, null: JSON has no others."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(one) for key, one in value.items()}
        case list() | tuple():
            return [_finite(one) for one in value]
        case _:
            return value


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Whole or not at all; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(handle, mode)
            file.write(text)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def commit() -> str:
    """Of the source, with `-dirty` where its files differ from it; `unknown` outside a repository.

    A harness asks before it measures. Results and pages are no source: what writes them makes nothing dirty.
    """
    try:
        at = _git("describe", "--always", "--exclude", "*")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{one}" for one in _OUTPUTS))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{at}{DIRTY}" if changed else at


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", *arguments]  # whoever commits meanwhile is not in its way
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()  # noqa: S603


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
