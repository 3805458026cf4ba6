"""Are requests enforced by the method that was asked for? Where it fails, another is measured under its name."""

from collections.abc import Iterable, Mapping
from math import nan

from bench.result import Figure


def as_asked(found: Iterable[tuple[str, Mapping[str, int]]], whose: str = "") -> Figure:
    """Of methods that were asked for, each with what enforces how many requests: see `bench.lives.in_force`."""
    rows = list(found)
    own = sum(enforced.get(f"{method}, enforced", 0) for method, enforced in rows)
    every = sum(sum(enforced.values()) for _, enforced in rows)
    return Figure.of(
        f"requests enforced by the method asked for, of all{whose}", own / every if every else nan, ">=", 1
    )
