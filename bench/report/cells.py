"""JSON values as the text of a table's cell: numbers to four digits, shares with their intervals."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

_LARGE = 1_000
_SMALL = 1e-3
_INTERVAL = {"value", "low", "high"}
_RATE = _INTERVAL | {"hits", "of"}


def known(value: float | None) -> bool:
    """Whether there is such a number."""
    return value is not None and isfinite(value)


def number(value: float | None) -> str:
    """To four digits, no more than are known."""
    if value is None or not known(value):
        return "not known"
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}" if abs(value) >= 10 * _LARGE else str(int(value))
    if abs(value) >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < _SMALL else f"{value:.4g}"


def is_one(value: Mapping[str, Any]) -> bool:
    """Whether this is one number with its interval, by itself or as `gateway.registry.Rate` writes a share."""
    return set(value) in (_INTERVAL, _RATE)


def rate(value: Mapping[str, Any]) -> str:
    """Per cent, its 95 % interval, and the counts behind both."""
    share, low, high = (f"{100 * value[key]:.2f}" for key in ("value", "low", "high"))
    return f"{share} % ({low} to {high}), {value['hits']} of {value['of']}"


def within(value: float | None, low: float | None, high: float | None) -> str:
    """A number and its interval, if there is one."""
    if not (known(low) or known(high)):
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def cell(value: Any) -> str:
    """Any value in few words; what is not there is an empty cell."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return number(value)
        case Mapping() if set(value) == _RATE:
            return rate(value)
        case Mapping() if set(value) == _INTERVAL:
            return within(**value)
        case Mapping():
            return ", ".join(f"{key} {cell(one)}" for key, one in value.items())
        case Sequence() if not isinstance(value, str):
            return ", ".join(map(cell, value))
        case _:
            return str(value)
