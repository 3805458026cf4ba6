"""Every string inside a JSON value, as a guard can read it: unescaped, keys too, in order."""

from collections.abc import Iterator
from typing import Any

DEPTH = 64  # of nested lists and objects; templates and grammars recurse
GIVEN = DEPTH - 8  # of a value that a client gives, which is read with what it stands in


class TooDeep(ValueError):
    """More nested than may be."""


def readable(value: Any, depth: int = DEPTH) -> str:
    """The strings and numbers of a JSON value, line by line.

    Raises:
        TooDeep: it is nested deeper than `depth`.
    """
    return "\n".join(_walk(value, depth))


def _walk(value: Any, left: int) -> Iterator[str]:
    if left < 0:
        raise TooDeep
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _walk(item, left - 1)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, left - 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
