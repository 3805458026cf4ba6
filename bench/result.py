"""What a benchmark found: tables, and one figure for each that was asked for, honestly false where it does not hold."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and its goal, such as `<= 1.0`."""

    name: str
    value: float
    unit: str
    goal: str
    holds: bool

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
        return cls(name, round(value, 4), unit, f"{sense} {goal:g}", holds)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a benchmark wants to say. `tables` are lists of rows by title."""

    name: str
    config: Mapping[str, Any]
    seed: int
    figures: Sequence[Figure]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]

    def write(self) -> Path:
        """bench/results/NAME.json, with commit and machine."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        whole = {
            "name": self.name,
            "commit": commit(),
            "config": dict(self.config),
            "seed": self.seed,
            "machine": machine(),
            "figures": [asdict(figure) for figure in self.figures],
            **self.tables,
        }
        path.write_text(json.dumps(whole, indent=2) + "\n")
        return path

    def show(self, console: Console) -> None:
        """The figures as a table."""
        table = Table("figure", "value", "unit", "goal", "holds", title=self.name)
        for one in self.figures:
            table.add_row(
                one.name, f"{one.value:g}", one.unit, one.goal, "[green]yes[/]" if one.holds else "[red]no[/]"
            )
        console.print(table)


def commit() -> str:
    """Of the source, with `-dirty` where files differ from it; `unknown` outside a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
