"""Leak against benign loss as a self-contained SVG: one line a configuration, thresholds along it.

Both axes are square roots of per cent, so that what lies near zero can be told apart.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]  # (benign loss, leak), both in per cent

_COLOURS = ("#1b6ca8", "#c1440e", "#3a7d44", "#7a4fa3", "#8a6d1d", "#444444")
_WIDTH, _HEIGHT, _LEFT, _TOP, _SIDE = 720, 470, 64, 44, 380
_TICKS = (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100)


def plot(title: str, curves: Mapping[str, Points], mark: Mapping[str, tuple[float, float]]) -> str:
    """The figure as SVG.

    Args:
        curves: for each configuration its points in order of the threshold; a single one is drawn as a dot.
        mark: for each configuration the point that is served, drawn larger.
    """
    points = [point for curve in curves.values() for point in curve]
    span = (_limit(x for x, _ in points), _limit(y for _, y in points))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
        *_axes(span),
    ]
    for i, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        at = [_place(point, span) for point in curve]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        lines += (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in at)
        if name in mark:
            x, y = _place(mark[name], span)
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{colour}"/>')
        y = _TOP + 16 + 20 * i
        lines.append(f'<circle cx="{_LEFT + _SIDE + 24}" cy="{y - 4}" r="5" fill="{colour}"/>')
        lines.append(f'<text x="{_LEFT + _SIDE + 36}" y="{y}">{escape(name)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _limit(values: Iterator[float]) -> float:
    """The first tick that no value passes."""
    highest = max(values, default=0.0)
    return next((tick for tick in _TICKS if tick >= highest), _TICKS[-1])


def _place(point: tuple[float, float], span: tuple[float, float]) -> tuple[float, float]:
    x, y = (math.sqrt(max(0.0, value) / limit) for value, limit in zip(point, span, strict=True))
    return _LEFT + _SIDE * x, _TOP + _SIDE * (1 - y)


def _axes(span: tuple[float, float]) -> Iterator[str]:
    bottom, right = _TOP + _SIDE, _LEFT + _SIDE
    for tick in (0.0, *_TICKS):
        x, y = _place((tick, tick), span)
        if tick <= span[0]:
            yield f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#e4e4e4"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
        if tick <= span[1]:
            yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e4e4e4"/>'
            yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    yield f'<text x="{_LEFT + _SIDE / 2}" y="{bottom + 36}" text-anchor="middle">benign prompts lost, %</text>'
    yield (
        f'<text x="18" y="{_TOP + _SIDE / 2}" text-anchor="middle" '
        f'transform="rotate(-90 18 {_TOP + _SIDE / 2})">forget probes leaked, %</text>'
    )
