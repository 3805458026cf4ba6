"""The same question about somebody else: negatives made from a request's own words.

A sentence encoder puts "Where was A born?" next to "Where was B born?". Where the line between them
lies is measured on minimal pairs: an example once more with the subject's name replaced by a
made-up one (namesakes included: first name kept, surname kept) or, where it names nobody, with its
numbers, months, titles and places replaced. Choices are keyed by the text, so that building twice
gives the same pairs. The strangers are our own; guards.md asks for "namesakes, the same question
about other subjects".
"""

import calendar
import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import cast

_MONTHS = tuple(calendar.month_name)[1:]
_MONTH = re.compile("|".join(_MONTHS))
_NUMBER = re.compile(r"\d+")
_QUOTED = re.compile(r"[\"“]([^\"”]{3,80})[\"”]|(?<!\w)['‘]([^'’]{3,80})['’](?!\w)")
_PROPER = re.compile(r"(?<![.?!:]\s)(?<!^)\b[A-Z](?=\w*[a-z])[\w’-]*(?:\s+[A-Z](?=\w*[a-z])[\w’-]*)*")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")


def contrasts(text: str, names: Sequence[str], count: int) -> tuple[str, ...]:
    """Up to `count` different texts that ask the same about something else; none when `text` names nothing.

    Args:
        text: an example, or the question of a fact.
        names: the subject and its aliases, as filed.
        count: how many to make.
    """
    key = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    chooser = random.Random(key)
    mentioned = [name for name in names if any(_word(part).search(text) for part in name_parts(name))]
    makers = _renamed(text, mentioned, chooser) if mentioned else _moved(text, chooser)
    made = dict.fromkeys(other for other in islice(makers, 2 * count) if other != text)
    return tuple(islice(made, count))


def identifies(text: str, names: Sequence[str]) -> bool:
    """Whether a text says whom or what it is about: a name, a number, a title or a proper noun."""
    named = any(_word(part).search(text) for name in names for part in name_parts(name))
    return bool(named or _NUMBER.search(text) or _QUOTED.search(text) or _PROPER.search(text))


def name_parts(name: str) -> list[str]:
    """The words of a name that can stand for it: "Mara van der Lind" → Mara, Lind."""
    found = _WORD.findall(name)
    return [word for word in found if not word[0].islower()] or found


def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(word)}\b")


@cache
def _strangers() -> dict[str, list[str]]:
    """Made-up `first` and `last` names and `titles`, and `places`."""
    return cast("dict[str, list[str]]", json.loads(files("guards").joinpath("strangers.json").read_text("utf-8")))


def _renamed(text: str, names: Sequence[str], chooser: random.Random) -> Iterator[str]:
    """A stranger and the two namesakes, in any order, over and over."""
    kept = [(), (0,), (-1,)]
    chooser.shuffle(kept)
    while True:
        for keep in kept:
            other = text
            for name in sorted(names, key=len, reverse=True):
                parts = name_parts(name)
                same = {parts[i] for i in keep if len(parts) > 1}
                for i, part in enumerate(parts):
                    if part not in same:
                        stranger = chooser.choice(_strangers()["last" if i else "first"])
                        other = _word(part).sub(stranger, other)
            yield other


def _moved(text: str, chooser: random.Random) -> Iterator[str]:
    """Elsewhere with the same numbers, other numbers in the same place, both; always another title."""

    def title(match: re.Match[str]) -> str:
        return match[0].replace(match[1] or match[2], chooser.choice(_strangers()["titles"]))

    def number(match: re.Match[str]) -> str:
        size = len(match[0])
        return str(chooser.randint(1930, 2005)) if size == 4 else str(chooser.randint(1, 28)).zfill(size)

    def place(match: re.Match[str]) -> str:
        return match[0] if match[0] in _MONTHS else chooser.choice(_strangers()["places"])

    while True:
        for numbers, places in ((False, True), (True, False), (True, True)):
            other = _QUOTED.sub(title, text)
            if places and other == text:
                other = _PROPER.sub(place, other)
            if numbers:
                other = _MONTH.sub(lambda _: chooser.choice(_MONTHS), _NUMBER.sub(number, other))
            yield other
