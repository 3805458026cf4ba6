"""Every string inside a JSON value, as a guard can read it: unescaped, keys too, in order."""

from collections.abc import Iterator
from typing import Any

DEPTH = 64  # of nested lists and objects; templates and grammars recurse


class TooDeep(ValueError):
    """More nested than `DEPTH`."""


def readable(value: Any) -> str:
    """The strings and numbers of a JSON value, line by line.

    Raises:
        TooDeep: it is nested deeper than `DEPTH`.
    """
    return "\n".join(_walk(value, 0))


def _walk(value: Any, depth: int) -> Iterator[str]:
    if depth > DEPTH:
        raise TooDeep
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _walk(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
