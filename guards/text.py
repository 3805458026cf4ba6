"""Normalised views of a text, each with its way back to the client's own characters.

A name can hide behind zero-width characters, look-alike letters, spaced letters, leet, another
alphabet or an encoding. A view undoes one such disguise; a guard's score is the maximum over views.
Folding: drop format, variation and tag characters, NFKD, strip marks, look-alikes to Latin (after
UTS 39's skeleton, with a compact table of our own), casefold, dashes and runs of white space to one
space. Folding works per code point, so that a table does it at C speed and offsets are exact.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from guards.decode import decoded

_LOOKALIKES = str.maketrans(
    # Cyrillic, then Greek, Armenian, then a few strays; upper case only where it is not the lower case's twin
    "абвгдезікклмнорстухѕјһԁԛԝёїҮүєґ" + "αβγεηικμνορτυχωϲϳ" + "оսոցհ" + "ıȷɑɡɩʟɴʀʏᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢ" + "øłđħŧß",
    "a6brдe3ikkлmhopctyxsjhdqweiyyeг" + "abyenikuvoptuxwcj" + "ounqh" + "ijagilnryacdejkmoptuvwz" + "oldhts",
)
_UPPER_LOOKALIKES = str.maketrans(
    "АВЕЗКМНОРСТУХЅІЈҮԚԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abe3kmhopctyxsijyqwabezhikmnoptyx",
)
_BY_SOUND = str.maketrans(
    "абвгдеёзийклмнопрстуфыэіїєґ" + "αβγδεζηικλμνξοπρσςτυφω", "abvgdeeziiklmnoprstufyeiieg" + "avgdeziiklmnxoprsstyfo"
) | str.maketrans(
    {"ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ю": "yu", "я": "ya", "ь": "", "ъ": ""}
    | {"θ": "th", "χ": "ch", "ψ": "ps"}
)
_FOREIGN = re.compile("[\u0370-\u03ff\u0400-\u052f]")
# i, l, 1, ! and | are one letter here: which of them a 1 stands for cannot be known
_LEET = str.maketrans("i013456789@$!|+€", "loleasgtbgasllte")
_INVISIBLE = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0})
_MARKS = ((0x0300, 0x036F), (0x0591, 0x05C7), (0x064B, 0x065F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF))

_SPACES = re.compile(r"  +")


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
    return _stripped(char).translate(_UPPER_LOOKALIKES).casefold().translate(_LOOKALIKES)


def _stripped(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not _is_mark(ord(char)))


def _is_mark(code: int) -> bool:
    return any(low <= code <= high for low, high in _MARKS)


class _Showing(dict[int, str]):
    """The same with capitals kept."""

    def __missing__(self, code: int) -> str:
        folded = _FOLD[code]
        self[code] = shown = folded.upper() if chr(code).isupper() else folded
        return shown


_FOLD = _Folding()
_SHOW = _Showing()


@dataclass(frozen=True, slots=True)
class View:
    """One reading of a text.

    `name` says which disguise was undone. `source` is the text that `span` leads back to: the client's
    own, or what was decoded from it. `letters` says that no spaces are left. `spelled` says that words
    stand in it as somebody typed them, so that typing errors are worth looking for.
    """

    name: str
    text: str = field(repr=False)
    source: str = field(repr=False)
    trace: Callable[[], Sequence[int]] | None = field(default=None, repr=False)
    letters: bool = False
    spelled: bool = False

    def span(self, start: int, stop: int) -> tuple[int, int] | None:
        """The characters of `source` behind [start, stop) of this view; None where the way back is lost."""
        if self.trace is None or start >= stop:
            return None
        origin = self.trace()
        first, last = origin[start], origin[stop - 1]
        return min(first, last), max(first, last) + 1


def fold(text: str) -> str:
    """The folded text, in which aliases and prompts are compared."""
    return _SPACES.sub(" ", text.translate(_FOLD))


def shown(text: str) -> str:
    """The folded text with its capitals, which tell names from words; punctuation and spaces as they are folded."""
    return _SPACES.sub(" ", text.translate(_SHOW))


def squash(text: str) -> str:
    """Letters and digits alone, leet undone: what spacing and punctuation cannot change. Takes folded text."""
    return "".join(filter(str.isalnum, text.translate(_LEET)))


def views(text: str) -> Iterator[View]:
    """The folded text first, then every other view that may differ; lazily, so that a caller may stop."""
    yield from _faces(text, "")
    for name, hidden in decoded(text):
        yield from _faces(hidden, name)


def _faces(text: str, decoding: str) -> Iterator[View]:
    """All views of one text; `decoding` names the notation it was read from, if any."""
    folded = fold(text)
    origin = cache(lambda: trace(text)[1])
    yield View(decoding or "folded", folded, text, origin, spelled=True)
    squashing = cache(lambda: _squash_trace(folded, origin()))
    yield View(decoding or "squashed", squash(folded), text, squashing, letters=True)
    yield View(decoding or "reversed", folded[::-1], text, cache(lambda: origin()[::-1]))
    each = " ".join(word[::-1] for word in text.split())
    yield View(decoding or "reversed", fold(each), each)
    turned = codecs.encode(text, "rot13")
    yield View(decoding or "rot13", fold(turned), text, cache(lambda: trace(turned)[1]))
    if not text.isascii() and _FOREIGN.search(text):
        latin = transliterated(text)
        yield View(decoding or "transliterated", fold(latin), latin, spelled=True)


def transliterated(text: str) -> str:
    """Cyrillic and Greek letters by sound, lower case: what folding reads by looks."""
    return unicodedata.normalize("NFC", text).casefold().translate(_BY_SOUND)


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
