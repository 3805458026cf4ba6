"""What `bench guard` found, for people: tables on a console, a page of markdown beside the JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.result import Figure

Row = Mapping[str, Any]

_HEADS = ("", "kind", "n", "failed %", "95 %", "caught by", "another's", "left", "CPU ms", "counted apart")


def show(console: Console, title: str, rows: Iterable[Row]) -> None:
    """Rows as `bench.omniscient.rows` makes them."""
    table = Table(*_HEADS, title=title)
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)


def page(figures: Sequence[Figure], rows: Sequence[Row], configurations: Sequence[Row], curve: Sequence[Row]) -> str:
    """The whole of `guard.md`."""
    return "\n".join(_lines(figures, rows, configurations, curve)) + "\n"


def _lines(
    figures: Sequence[Figure], rows: Sequence[Row], configurations: Sequence[Row], curve: Sequence[Row]
) -> Iterator[str]:
    yield "# Guards, measured with the omniscient model\n"
    yield "A model that always answers with the gold answer is assumed: see docs/guard-benchmark.md.\n"
    yield from _table(
        ("figure", "value", "goal", "holds"),
        (
            (one.name, f"{one.value:g} {one.unit}".strip(), one.goal, "yes" if one.holds else "**no**")
            for one in figures
        ),
    )
    yield "\n## Configurations\n"
    yield from _plain(configurations)
    if curve:
        yield "\n## Thresholds\n"
        yield "![leak against benign loss](guard.svg)\n"
        yield from _plain(curve)
    for family in dict.fromkeys(row["family"] for row in rows):
        yield f"\n## {family}\n"
        yield from _table(_HEADS, (_cells(row) for row in rows if row["family"] == family))


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


def _plain(rows: Sequence[Row]) -> Iterator[str]:
    """Rows of equal keys."""
    if rows:
        yield from _table(tuple(rows[0]), ([_shown(value) for value in row.values()] for row in rows))


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
