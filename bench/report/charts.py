"""Two kinds of figure as self-contained SVG, with a title and a description: rows with intervals, points in a plane.

Colours are told apart by people who see few of them, and shapes say the same: filled is what is measured, hollow
what it is compared with.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from html import escape
from itertools import cycle

from bench.report.cells import known, number
from bench.report.scale import Scale

_THEIRS = ("#9aa7ad", "#b99a7b", "#8d8dc4", "#86a886", "#c99ab0", "#5f7f8c")  # of what is no row of ours
COLOURS = ("#0b6e99", "#c1440e", "#3a7d44", "#7a4fa3", "#8a6d1d", "#444444", "#d0608c", "#4aa8dc")
_WIDTH, _RIGHT, _TOP, _ROW = 760, 24, 58, 24
_BAD, _INK, _GRID, _FAINT = "#b2182b", "#222", "#e3e3de", "#666"
_LETTER = 6.8  # width of one at the size of labels, in a wide typeface
_LEFT, _HIGH, _KEY = 66, 300, 210


@dataclass(frozen=True, slots=True)
class Line:
    """A row: its value, the 95 % interval, what it is compared with, and whether it is as it should be."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    beside: float | None = None
    holds: bool = True

    @property
    def values(self) -> list[float]:
        """All that has to be seen."""
        return [one for one in (self.value, self.low, self.high, self.beside) if one is not None]


def intervals(
    title: str, description: str, lines: Sequence[Line], unit: str, *, beside: str = "", log: bool = False
) -> str:
    """A row a line, its interval about its value; none where that is not known.

    Args:
        unit: what the axis says.
        beside: what the hollow marks are, where there are any.
    """
    lines = [line for line in lines if known(line.value)]
    left = 24 + _LETTER * max((len(line.label) for line in lines), default=0)
    bottom = _TOP + _ROW * len(lines)
    scale = Scale.over((one for line in lines for one in line.values), left, _WIDTH - _RIGHT - 56, log=log)
    drawn = [*_upright(scale, _TOP - 6, bottom, unit)]
    for i, line in enumerate(lines):
        y, colour = _TOP + _ROW * i + _ROW / 2 - 3, COLOURS[0] if line.holds else _BAD
        drawn.append(f'<text x="{left - 10:g}" y="{y + 4:g}" text-anchor="end">{escape(line.label)}</text>')
        said = f"{line.label}: {number(line.value)}"
        if line.low is not None and line.high is not None:
            ends = f'x1="{scale(line.low):.1f}" x2="{scale(line.high):.1f}"'
            drawn.append(f'<line {ends} y1="{y:g}" y2="{y:g}" stroke="{colour}" stroke-width="2"/>')
            said += f", 95 % interval {number(line.low)} to {number(line.high)}"
        if line.beside is not None:
            drawn.append(_diamond(scale(line.beside), y))
            said += f", {beside} {number(line.beside)}"
        drawn.append(
            f'<circle cx="{scale(line.value):.1f}" cy="{y:g}" r="4.5" fill="{colour}">'
            f"<title>{escape(said)}</title></circle>"
        )
        drawn.append(
            f'<text x="{_WIDTH - 8}" y="{y + 4:g}" text-anchor="end" fill="{colour}">{number(line.value)}</text>'
        )
    key = [("circle", COLOURS[0], "measured, with its 95 % interval" if _any_interval(lines) else "measured")]
    key += [("circle", _BAD, "misses its goal")] if not all(line.holds for line in lines) else []
    key += [("diamond", _INK, beside)] if beside else []
    return _whole(title, description, bottom + 44, [*_legend(key), *drawn])


def _any_interval(lines: Sequence[Line]) -> bool:
    return any(line.low is not None for line in lines)


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis says, whether it is logarithmic, and a value on it that is a goal."""

    label: str
    log: bool = False
    goal: float | None = None


def plane(
    title: str,
    description: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    across: Axis,
    up: Axis,
    *,
    hollow: Iterable[str] = (),
    joined: bool = False,
) -> str:
    """Points of every series; joined, they are a line in order of x. A goal is a broken line.

    What is not known is no point. A hollow series has the colour of the filled one that its name begins with:
    "ULD, reported" that of "uld".
    """
    hollow = {*hollow}
    series = {name: [point for point in some if all(map(known, point))] for name, some in series.items()}
    points = [point for some in series.values() for point in some]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    bottom = _TOP + _HIGH
    x_of = Scale.over(xs + _known(across), _LEFT, _WIDTH - _KEY - 12, log=across.log)
    y_of = Scale.over(ys + _known(up), bottom, _TOP, log=up.log)
    drawn = [*_upright(x_of, _TOP, bottom, across.label), *_level(y_of, up.label)]
    broken = f'stroke="{_FAINT}" stroke-dasharray="5 4"'
    if up.goal is not None:
        y = y_of(up.goal)
        drawn.append(f'<line x1="{_LEFT}" x2="{x_of.end}" y1="{y:.1f}" y2="{y:.1f}" {broken}/>')
    if across.goal is not None:
        x = x_of(across.goal)
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" {broken}/>')
    colours = _coloured(series, hollow)
    for i, (name, some) in enumerate(series.items()):
        colour = colours[name]
        fill = "#fff" if name in hollow else colour
        places = [(x_of(x), y_of(y)) for x, y in (sorted(some) if joined else some)]
        if joined:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        for (x, y), (across_value, up_value) in zip(places, sorted(some) if joined else some, strict=True):
            said = f"{name}: {across.label} {number(across_value)}, {up.label} {number(up_value)}"
            drawn.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{colour}" stroke-width="1.8">'
                f"<title>{escape(said)}</title></circle>"
            )
        key, at = _TOP + 12 + 22 * i, _WIDTH - _KEY + 16
        drawn.append(
            f'<circle cx="{at}" cy="{key - 4}" r="5" fill="{fill}" stroke="{colour}" stroke-width="1.8"/>'
            f'<text x="{at + 12}" y="{key}">{escape(name)}</text>'
        )
    return _whole(title, description, bottom + 44, drawn)


def _coloured(names: Collection[str], hollow: Set[str]) -> Mapping[str, str]:
    """One for each filled series, and paler ones for hollow ones that have no filled namesake, as far as they go."""

    def word(name: str) -> str:
        return name.partition(" ")[0].rstrip(",0123456789").casefold()  # "retain90, reported" is of "retain"

    filled = [name for name in names if name not in hollow]
    found = dict(zip(filled, cycle(COLOURS), strict=False))
    namesakes = {word(name): colour for name, colour in reversed(found.items())}
    paler = cycle(_THEIRS)
    return found | {name: namesakes.get(word(name)) or next(paler) for name in names if name in hollow}


def _known(axis: Axis) -> list[float]:
    return [] if axis.goal is None else [axis.goal]


def _upright(scale: Scale, top: float, bottom: float, label: str) -> Iterator[str]:
    """Lines from an axis at the bottom, its ticks and label."""
    for tick in scale.ticks:
        x = scale(tick)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{bottom:g}" stroke="{_GRID}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16:g}" text-anchor="middle" fill="{_FAINT}">{number(tick)}</text>'
    middle = (scale.start + scale.end) / 2
    yield f'<text x="{middle:.1f}" y="{bottom + 34:g}" text-anchor="middle">{escape(label)}</text>'


def _level(scale: Scale, label: str) -> Iterator[str]:
    """Lines from an axis on the left."""
    for tick in scale.ticks:
        y = scale(tick)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _KEY - 12}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{_FAINT}">{number(tick)}</text>'
    middle = (scale.start + scale.end) / 2
    yield (
        f'<text x="14" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 14 {middle:.1f})">'
        f"{escape(label)}</text>"
    )


def _diamond(x: float, y: float) -> str:
    points = f"{x:.1f},{y - 5:g} {x + 5:.1f},{y:g} {x:.1f},{y + 5:g} {x - 5:.1f},{y:g}"
    return f'<polygon points="{points}" fill="#fff" stroke="{_INK}" stroke-width="1.4"/>'


def _legend(key: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Under the title, from left to right."""
    x = 14.0
    for shape, colour, said in key:
        yield _diamond(x, 38) if shape == "diamond" else f'<circle cx="{x:g}" cy="38" r="4.5" fill="{colour}"/>'
        yield f'<text x="{x + 10:g}" y="42" fill="{_FAINT}">{escape(said)}</text>'
        x += 34 + _LETTER * len(said)


def _whole(title: str, description: str, height: float, drawn: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" role="img" '
            'aria-labelledby="t d" font-family="sans-serif" font-size="12">',
            f'<title id="t">{escape(title)}</title><desc id="d">{escape(description)}</desc>',
            f'<rect width="{_WIDTH}" height="{height:g}" fill="#fff"/>',
            f'<text x="8" y="20" font-size="14" fill="{_INK}">{escape(title)}</text>',
            *drawn,
            "</svg>",
            "",
        ]
    )
