"""The persistence matrix as a self-contained SVG: leak by request and step, and below it the utility.

Shares are coloured by their square root, so that 3 % can be told from nothing. A row is grey from its first cell to
its end, where nobody asked. Labels and titles are given; nothing else is written but numbers.
"""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, sqrt

_WRITTEN = 16  # columns up to which the shares stand in their cells
_WIDTH = 640  # of the cells, where they are many
_LEFT, _TOP, _RIGHT, _GAP = 72, 84, 24, 10
_NARROW = 360  # what the texts need
_LABEL = 10  # least distance of two labels
_PALE, _LEAK, _LOSS = (247, 247, 242), (178, 24, 43), (33, 102, 172)
_UNASKED, _DARK = "#dcdcd6", 0.55

Share = float | None


def heatmap(
    title: str,
    description: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Share]],
    utility: Sequence[float],
    *,
    over: Sequence[int | None] | None = None,
    marked: str | None = None,
) -> str:
    """The figure as SVG, with nothing outside it.

    Args:
        title: what is seen, and `description`: what it says, for those who cannot see it.
        rows: a label for each request, and `columns`: one for each step.
        cells: leak as a share, rows × columns; None where nobody asked.
        utility: as a share, for each column.
        over: for each row the column by which the request was over, if it is.
        marked: a label that stands out.
    """
    size = 36 if len(columns) <= _WRITTEN else max(4, _WIDTH // len(columns))
    bottom = _TOP + size * len(rows) + _GAP
    width, height = _LEFT + max(size * len(columns), _NARROW) + _RIGHT, bottom + size + 28
    ends = over or [None] * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t d" '
        'font-family="sans-serif" font-size="10">',
        f'<title id="t">{escape(title)}</title><desc id="d">{escape(description)}</desc>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-size="14">{escape(title)}</text>',
        *_labels(columns, size, marked, upright=False),
        *_labels(rows, size, marked, upright=True),
    ]
    for i, (row, shares, end) in enumerate(zip(rows, cells, ends, strict=True)):
        y = _TOP + size * i
        asked = [t for t, share in enumerate(shares) if share is not None]
        if asked:
            x, until = _LEFT + size * asked[0], _LEFT + size * (len(columns) if end is None else end)
            lines.append(f'<rect x="{x}" y="{y}" width="{until - x}" height="{size}" fill="{_UNASKED}"/>')
        for t in asked:
            share = shares[t] or 0.0
            lines += _cell(t, y, size, share, share, _LEAK, f"leak of {row} after {columns[t]}", len(columns))
    lines.append(f'<text x="{_LEFT - 6}" y="{bottom + size / 2 + 3:g}" text-anchor="end">utility</text>')
    for t, share in enumerate(utility):
        lines += _cell(t, bottom, size, share, 1 - share, _LOSS, f"utility after {columns[t]}", len(columns))
    lines.append(
        f'<text x="8" y="{height - 8}">Per cent. Grey: not asked at that step. A row ends when its request does.</text>'
    )
    return "\n".join([*lines, "</svg>", ""])


def _labels(names: Sequence[str], size: int, marked: str | None, *, upright: bool) -> Iterator[str]:
    """So many as there is room for, and the marked one."""
    every = ceil(_LABEL / size)
    for i, name in enumerate(names):
        if i % every and name != marked:
            continue
        weight = ' font-weight="bold"' if name == marked else ""
        middle = size * i + size / 2 + 3
        place = (
            f'x="{_LEFT - 6}" y="{_TOP + middle:g}" text-anchor="end"'
            if upright
            else f'transform="translate({_LEFT + middle:g} {_TOP - 6}) rotate(-90)"'
        )
        yield f"<text {place}{weight}>{escape(name)}</text>"


def _cell(
    t: int, y: int, size: int, share: float, depth: float, colour: tuple[int, int, int], what: str, columns: int
) -> Iterator[str]:
    depth = sqrt(min(1.0, max(0.0, depth)))
    fill = "#" + "".join(f"{round(pale + (full - pale) * depth):02x}" for pale, full in zip(_PALE, colour, strict=True))
    x = _LEFT + size * t
    yield (
        f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{fill}" stroke="#fff" stroke-width="0.5">'
        f"<title>{escape(what)}: {100 * share:.1f} %</title></rect>"
    )
    if columns <= _WRITTEN:
        ink = "#fff" if depth > _DARK else "#222"
        yield (
            f'<text x="{x + size / 2:g}" y="{y + size / 2 + 3:g}" text-anchor="middle" fill="{ink}">'
            f"{100 * share:.0f}</text>"
        )
