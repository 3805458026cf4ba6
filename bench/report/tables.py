"""Rows of JSON as tables of text, whatever a harness writes.

A group inside a row (a mapping that is neither a share nor counts, or a list of rows) becomes a table of its own,
its rows known by the first value of the row that they stood in, and by that one's row, split and seed if it has them.
Rows of several families are a table each; a number followed by `low` and `high` is one cell; few rows of many columns
are turned on their side.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.report.blocks import Table
from bench.report.cells import cell, is_one, number, within
from bench.report.found import Row

_WIDE = 9  # columns, above which few rows are turned
_FEW = 5
_FAMILIES = 10  # more of them are a column
_NAMES = ("row", "split", "seed")  # what rows are known by, beside their first value


def tables(title: str, rows: Sequence[Row]) -> Iterator[Table]:
    """A table or more for what a harness wrote under a title."""
    families = list(dict.fromkeys(row.get("family") for row in rows))
    if 1 < len(families) <= _FAMILIES:
        for family in families:
            own = [row for row in rows if row.get("family") == family]
            yield from tables(f"{title}: {family}", [_without(row, "family") for row in own])
        return
    if len(rows) > 1 and all(len(row) == 1 and _is_number(next(iter(row.values()))) for row in rows):
        yield _spread(title, rows)
        return
    apart: dict[str, list[Row]] = {}
    flat: list[dict[str, str]] = []
    names: set[str] = set()
    for row in rows:
        alone, groups = _parted(row)
        flat.append(alone)
        known = (
            {key: one for i, (key, one) in enumerate(row.items()) if not i or key in _NAMES} if len(rows) > 1 else {}
        )
        names |= {_words(key) for key in known if groups}
        for key, inside in groups:
            apart.setdefault(key, []).extend({**known, **one} for one in inside)
    if any(text for row in flat for head, text in row.items() if head not in names):  # more than groups are known by
        yield _table(title, flat)
    for key, inside in apart.items():
        yield from tables(f"{title}: {_words(key)}", inside)


def _without(row: Row, key: str) -> Row:
    return {own: value for own, value in row.items() if own != key}


def _parted(row: Row) -> tuple[dict[str, str], list[tuple[str, Sequence[Row]]]]:
    """The cells of a row by head, and its groups."""
    own: dict[str, str] = {}
    groups: list[tuple[str, Sequence[Row]]] = []
    before = ""
    for key, value in row.items():
        if isinstance(value, Mapping) and not is_one(value) and not _is_counts(value):
            groups.append((key, [value]))
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            groups.append((key, value))
        elif key == "low" and "high" in row and _is_number(row.get(before)):
            own[_words(before)] = within(row[before], value, row["high"])
        elif key != "high" or "low" not in row:
            own[_words(key)] = cell(value)
            before = key
    return own, groups


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_counts(value: Mapping[str, Any]) -> bool:
    """How often what was seen, and perhaps of how many: names as keys, whole numbers."""
    return all(isinstance(one, int) or (isinstance(one, Mapping) and _is_counts(one)) for one in value.values())


def _words(key: str) -> str:
    return key.replace("_", " ")


def _spread(title: str, rows: Sequence[Row]) -> Table:
    """Many measurements of one thing."""
    values = sorted(next(iter(row.values())) for row in rows)
    heads = ("of", "measured", "lowest", "median", "highest")
    shown = [number(values[0]), number(values[len(values) // 2]), number(values[-1])]
    return Table(_words(title), heads, [[_words(next(iter(rows[0]))), str(len(values)), *shown]], folded=True)


def _table(title: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """Of cells by head, empty columns left out."""
    heads = [head for head in dict.fromkeys(head for row in rows for head in row) if any(row.get(head) for row in rows)]
    cells = [[row.get(head, "") for head in heads] for row in rows]
    if len(heads) > _WIDE and len(rows) <= _FEW:
        heads, cells = (
            [heads[0], *(row[0] for row in cells)],
            [[head, *(row[i] for row in cells)] for i, head in enumerate(heads) if i],
        )
    return Table(_words(title), heads, cells, folded=True)
