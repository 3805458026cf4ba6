"""Normalised views of a text, each with its way back to the client's own characters.

A name can hide behind zero-width characters, look-alike letters, spaced letters, leet, or an
encoding. A view undoes one such disguise; a guard's score is the maximum over views. Folding: drop
format, variation and tag characters, NFKD, strip marks, look-alikes to Latin (after UTS 39's
skeleton, with a compact table of our own), casefold, dashes and runs of white space to one space.
Folding works per code point, so that a table does it at C speed and offsets are exact.
"""

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import unquote

_LOOKALIKES = str.maketrans(
    # Cyrillic, then Greek, then a few strays; upper case only where it is not the lower case's twin
    "абвгдезікклмнорстухѕјһԁԛԝёїҮүєґ" + "αβγεηικμνορτυχωϲϳ" + "ıȷɑɡɩʟɴʀʏᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢ" + "øłđħŧß",
    "a6brдe3ikkлmhopctyxsjhdqweiyyeг" + "abyenikuvoptuxwcj" + "ijagilnryacdejkmoptuvwz" + "oldhts",
)
_UPPER_LOOKALIKES = str.maketrans(
    "АВЕЗКМНОРСТУХЅІЈҮԚԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abe3kmhopctyxsijyqwabezhikmnoptyx",
)
# i, l, 1, ! and | are one letter here: which of them a 1 stands for cannot be known
_LEET = str.maketrans("i013456789@$!|+€", "loleasgtbgasllte")
_INVISIBLE = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0})
_MARKS = ((0x0300, 0x036F), (0x0591, 0x05C7), (0x064B, 0x065F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF))

_SPACES = re.compile(r"  +")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEX = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2}[\s:]?){6,}")
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_PRINTS = 0.7  # share of a decoded run that must print


class _Folding(dict[int, str]):
    """`str.translate` table that learns code points as they come."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold_code(code)
        return folded


def _fold_code(code: int) -> str:
    char = chr(code)
    category = unicodedata.category(char)
    if char.isspace() or category in ("Pd", "Pc", "Zl", "Zp"):
        return " "
    if category in ("Cf", "Cc", "Cs", "Cn") or code in _INVISIBLE or 0xFE00 <= code <= 0xFE0F or code >= 0xE0000:
        return ""
    if char in "’‘ʼ`´′＇":
        return "'"
    plain = "".join(c for c in unicodedata.normalize("NFKD", char) if not _is_mark(ord(c)))
    return plain.translate(_UPPER_LOOKALIKES).casefold().translate(_LOOKALIKES)


def _is_mark(code: int) -> bool:
    return any(low <= code <= high for low, high in _MARKS)


_FOLD = _Folding()


@dataclass(frozen=True, slots=True)
class View:
    """One reading of a text. `name` says which disguise was undone."""

    name: str
    text: str = field(repr=False)
    trace: Callable[[], Sequence[int]] | None = field(default=None, repr=False)

    def span(self, start: int, stop: int) -> tuple[int, int] | None:
        """The original characters [start, stop) behind those of this view; None where decoding lost them."""
        if self.trace is None or start >= stop:
            return None
        origin = self.trace()
        first, last = origin[start], origin[stop - 1]
        return min(first, last), max(first, last) + 1


def fold(text: str) -> str:
    """The folded text, in which aliases and prompts are compared."""
    return _SPACES.sub(" ", text.translate(_FOLD))


def squash(text: str) -> str:
    """Letters and digits alone, leet undone: what spacing and punctuation cannot change. Takes folded text."""
    return "".join(filter(str.isalnum, text.translate(_LEET)))


def views(text: str) -> Iterator[View]:
    """The folded text first, then every other view that differs; lazily, so that a caller may stop."""
    folded = fold(text)

    origin = cache(lambda: trace(text)[1])
    yield View("folded", folded, origin)
    yield View("squashed", squash(folded), cache(lambda: _squash_trace(folded, origin())))
    yield View("reversed", folded[::-1], cache(lambda: origin()[::-1]))
    yield View("rot13", codecs.encode(folded, "rot13"), origin)
    for name, hidden in _decoded(text, depth=2):
        yield View(name, fold(hidden))


def trace(text: str) -> tuple[str, list[int]]:
    """`fold(text)`, and for each of its characters the offset of the one it came from."""
    folded: list[str] = []
    origin: list[int] = []
    for i, char in enumerate(text):
        for out in _FOLD[ord(char)]:
            if out != " " or not folded or folded[-1] != " ":
                folded.append(out)
                origin.append(i)
    return "".join(folded), origin


def _squash_trace(folded: str, origin: Sequence[int]) -> list[int]:
    return [i for char, i in zip(folded.translate(_LEET), origin, strict=True) if char.isalnum()]


def _decoded(text: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth == 0:
        return
    found = []
    tags = "".join(chr(ord(char) - 0xE0000) for run in _TAGS.findall(text) for char in run)
    if tags:
        found.append(("tags", tags))
    if _PERCENT.search(text):
        found.append(("percent", unquote(text, errors="ignore")))
    for name, pattern, decode in (("base64", _BASE64, _from_base64), ("hex", _HEX, _from_hex)):
        plain = " ".join(filter(None, (decode(match[0]) for match in pattern.finditer(text))))
        if plain:
            found.append((name, plain))
    for name, plain in found:
        yield name, plain
        yield from _decoded(plain, depth - 1)


def _from_base64(run: str) -> str:
    body = run.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return _printing(base64.b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _from_hex(run: str) -> str:
    digits = re.sub(r"[\s:]", "", run.removeprefix("0x"))
    return _printing(bytes.fromhex(digits))


def _printing(raw: bytes) -> str:
    text = raw.decode("utf-8", errors="ignore")
    shown = sum(char.isprintable() or char.isspace() for char in text)
    return text if len(text) >= _PRINTS * len(raw) and shown >= _PRINTS * max(1, len(text)) else ""
