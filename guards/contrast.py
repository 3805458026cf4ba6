"""The same question about somebody else: negatives made from a request's own words.

A sentence encoder puts "Where was A born?" next to "Where was B born?". What tells them apart is
learned from minimal pairs: each example once more with the subject's name replaced by a made-up one
(namesakes included: first name kept, surname kept) and, where it names nobody, with its places,
titles, months and numbers replaced. Choices are keyed by the text, so that building twice gives the
same negatives. Contrast by substitution is our own; guards.md asks for "namesakes, the same
question about other subjects".
"""

import calendar
import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import cast

from guards.aliases import words

_MONTHS = tuple(calendar.month_name)[1:]

_NUMBER = re.compile(r"\d+")
_QUOTED = re.compile(r"[\"“]([^\"”]{3,80})[\"”]|(?<!\w)['‘]([^'’]{3,80})['’](?!\w)")
_PROPER = re.compile(r"(?<![.?!:]\s)(?<!^)\b[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*)*")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")


@cache
def _strangers() -> dict[str, list[str]]:
    """Made-up names, places and titles."""
    return cast("dict[str, list[str]]", json.loads(files("guards").joinpath("strangers.json").read_text("utf-8")))


def contrasts(text: str, names: Sequence[str], count: int = 2) -> tuple[str, ...]:
    """Up to `count` texts that ask the same about something else; fewer when `text` names nothing at all.

    Args:
        text: an example, or a question of a fact.
        names: the subject and its aliases, in their usual spelling.
        count: how many to make.
    """
    chooser = random.Random(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())
    makers = _renamed(text, names, chooser) if _mentions(text, names) else _moved(text, chooser)
    made: dict[str, None] = {}
    for other, _ in zip(makers, range(2 * count), strict=False):
        if other != text:
            made[other] = None
        if len(made) == count:
            break
    return tuple(made)


def identifies(text: str, names: Sequence[str]) -> bool:
    """Whether a text says whom or what it is about: a name, a number, a title or a proper noun."""
    return bool(_mentions(text, names) or _NUMBER.search(text) or _QUOTED.search(text) or _PROPER.search(text))


def _mentions(text: str, names: Sequence[str]) -> bool:
    return any(re.search(rf"\b{re.escape(part)}\b", text) for name in names for part in name_parts(name))


def name_parts(name: str) -> list[str]:
    """The words of a name that can stand for it: "Mara van der Lind" → Mara, Lind."""
    words = _WORD.findall(name)
    capital = [word for word in words if word[:1].isupper() or not word.isascii()]
    return capital or words


def _renamed(text: str, names: Sequence[str], chooser: random.Random) -> Iterator[str]:
    """A stranger first, then the two namesakes, then more strangers."""
    keeps = [(False, False), (True, False), (False, True)]
    chooser.shuffle(keeps)
    while True:
        for first, last in keeps:
            other = text
            for name in sorted(names, key=len, reverse=True):
                other = _rename(other, name_parts(name), first, last, chooser)
            yield other


def _rename(text: str, parts: Sequence[str], first: bool, last: bool, chooser: random.Random) -> str:
    new = [chooser.choice(_strangers()["first"]), *(chooser.choice(_strangers()["last"]) for _ in parts[1:])]
    for i, (old, other) in enumerate(zip(parts, new, strict=True)):
        kept = len(parts) > 1 and ((first and i == 0) or (last and i == len(parts) - 1))
        if not kept:
            text = re.sub(rf"\b{re.escape(old)}\b", other, text)
    return text


def _moved(text: str, chooser: random.Random) -> Iterator[str]:
    """Other numbers and titles in the same place; the same numbers elsewhere; both."""
    while True:
        for dates, places in ((True, False), (False, True), (True, True)):
            other = _QUOTED.sub(
                lambda match: match[0].replace(match[1] or match[2], chooser.choice(_strangers()["titles"])), text
            )
            if dates:
                other = _NUMBER.sub(lambda match: _number(match[0], chooser), other)
                other = re.sub("|".join(_MONTHS), lambda match: chooser.choice(_MONTHS), other)
            if places:
                other = _PROPER.sub(lambda match: _place(match[0], chooser), other)
            yield other


def _number(digits: str, chooser: random.Random) -> str:
    if len(digits) == 4:
        return str(chooser.randint(1930, 2005))
    return str(chooser.randint(1, 28)).zfill(len(digits)) if len(digits) <= 2 else digits[::-1]


def _place(words: str, chooser: random.Random) -> str:
    return words if words in _MONTHS else chooser.choice(_strangers()["places"])
