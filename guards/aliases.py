"""What a name is worth as evidence.

A full name names one person; a bare first name or surname, a common word or a single letter does
not. Strong aliases hit alone; weak ones only support a likeness (guards.md: a bare surname matches
80 % of probes but also 12 % of neighbour questions: weigh it, don't trust it).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal

from guards.text import fold

_SHORT = 3  # a lone word of up to this many letters is weak


@dataclass(frozen=True, slots=True)
class Alias:
    """A name, as filed. Strong ones are enough for a hit."""

    text: str = field(repr=False)
    strong: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """What is wrong with an alias: `refuse` is a 4xx, `warn` belongs into the resource."""

    severity: Literal["refuse", "warn"]
    message: str


@cache
def common_words() -> frozenset[str]:
    """Folded English words that name nobody."""
    return frozenset(fold(files("guards").joinpath("common.txt").read_text("utf-8")).split())


@cache
def everyday_words() -> frozenset[str]:
    """Folded words that ordinary prompts use without a capital: they may name somebody, but not alone."""
    text = files("guards").joinpath("ordinary.txt").read_text("utf-8")
    return frozenset(fold(word) for word in re.findall(r"[^\W\d_]+", text) if word.islower())


def words(text: str) -> tuple[str, ...]:
    """The folded words of a text; a possessive loses its ending."""
    cleaned = "".join(char if char.isalnum() or char in "' " else " " for char in fold(text))
    return tuple(filter(None, (word.removesuffix("'s").replace("'", "") for word in cleaned.split())))


def weigh(subject: str, aliases: Sequence[str]) -> tuple[Alias, ...]:
    """Subject and aliases as evidence, each once, parts of longer names weak."""
    seen: dict[tuple[str, ...], str] = {}
    for name in (subject, *aliases):
        if words(name):
            seen.setdefault(words(name), name.strip())
    parts = {word for name in seen if len(name) > 1 for word in name}
    return tuple(Alias(text, _names(name) and not (len(name) == 1 and name[0] in parts)) for name, text in seen.items())


def _names(name: tuple[str, ...]) -> bool:
    if len(name) == 1:
        alphabetic = name[0].isascii()
        return (
            (len(name[0]) > _SHORT or not alphabetic)
            and len(name[0]) > 1
            and name[0] not in common_words() | everyday_words()
            and not name[0].isdigit()
        )
    return not all(len(word) == 1 or word.isdigit() or word in common_words() for word in name)


def alias_warnings(alias: str) -> tuple[Notice, ...]:
    """What the admin should hear about one alias; empty when it is a good name. Never repeats the alias."""
    name = words(alias)
    if not name:
        return (Notice("refuse", "alias has no letters or digits"),)
    if len("".join(name)) == 1:
        return (Notice("refuse", "alias is a single character"),)
    if len(name) == 1 and name[0] in common_words():
        return (Notice("refuse", "alias is a common word"),)
    if "".join(name).isdigit():
        return (Notice("warn", "alias is only digits: it never matches alone"),)
    if _names(name):
        return ()
    if len(name) == 1:
        kind = "an everyday word" if name[0] in everyday_words() else "very short"
        return (Notice("warn", f"alias is {kind}: it never matches alone"),)
    return (Notice("warn", "alias consists of common words: it never matches alone"),)
