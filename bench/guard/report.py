"""Rows of `python -m bench.guard.run --development` on a console; what was measured is shown by `bench.report`."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Row = Mapping[str, Any]

_HEADS = ("", "kind", "n", "failed %", "95 %", "caught by", "another's", "left", "CPU ms", "counted apart")


def show(console: Console, title: str, rows: Iterable[Row]) -> None:
    """Rows as `bench.omniscient.rows` makes them."""
    table = Table(*_HEADS, title=title)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def _cells(row: Row) -> tuple[str, ...]:
    rate = row["failed"]
    return (
        "lost" if row["control"] else "leak",
        row["kind"],
        str(row["n"]),
        f"{100 * rate['value']:.2f}",
        f"{100 * rate['low']:.2f} to {100 * rate['high']:.2f}",
        ", ".join(f"{stage} {count}" for stage, count in row["stages"].items()),
        str(row["another"] or ""),
        f"{row['left']:.2f}" if row["left"] else "",
        f"{row['cpu_ms']:.1f}" if row.get("cpu_ms") else "",
        ", ".join(f"{some['failed']} of {some['n']} {reason}" for reason, some in row["apart"].items()),
    )
