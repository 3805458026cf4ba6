"""What a text spells in another notation, put back in its place.

Tag characters, percent and other escapes, hex and base64 runs are replaced where they stand, so that
"Who is 4d617261204c696e64?" reads "Who is Mara Lind?" with the question around the name. A run counts
only where what it hides prints, and a short one only where it is words: order numbers, hashes and long
English words stay what they are. What was decoded is decoded again, up to `DEPTH` notations deep.
Linear in the text.
"""

import base64
import binascii
import html
import re
from collections.abc import Iterator
from urllib.parse import unquote

DEPTH = 3

_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{3,6}\U000e007f")  # 🏴 of a region: honest tag characters
_TAGS = re.compile("[\U000e0001\U000e0020-\U000e007f]+")
_NO_LETTERS = "\x01\x7f"  # tags that begin and end a run
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_REFERENCE = re.compile(r"&#?\w{2,8};")
_CODE_POINT = re.compile(r"\\u(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{4}))")
_BREAK = re.compile(r"(?<!\\[nrt])(?:\\[nrt])+(?=[A-ZÀ-Þ])")  # before a small letter it may be a path's
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?:(?:0x|\\x|%)?[0-9a-fA-F]{2}[\s:,]{0,2}){4,}(?![0-9a-zA-Z])")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{8,}(?:\r?\n[A-Za-z0-9+/_-]{2,})*={0,2}|[A-Za-z0-9+/_-]{4,}={1,2})"
)
_DIGITS = re.compile(r"[0-9a-fA-F]{2}")
_PLAIN_WORD = re.compile(r"[a-z/_-]*[A-Z]?[a-z/_-]*|[A-Z]+|\d+")  # no base64 has so few capitals and digits

_PRINTS = 0.7  # share of a decoded run that must print
_SHORT = 16  # bytes up to which a run must hide words
_WORDS = 0.85  # share of letters and spaces in words


def decoded(text: str) -> Iterator[tuple[str, str]]:
    """(notation, text with what it hides in plain sight), once per depth; nothing where nothing is hidden."""
    for _ in range(DEPTH):
        name, plain = _once(text)
        if plain == text:
            return
        text = plain
        yield name, text


def _once(text: str) -> tuple[str, str]:
    """The text with every notation undone once, and the name of the first that was."""
    name = ""
    for kind, undo in (
        ("tags", _from_tags),
        ("percent", _from_percent),
        ("escapes", _from_escapes),
        ("hex", _from_hex),
        ("base64", _from_base64),
    ):
        plain = undo(text)
        if plain != text:
            name, text = name or kind, plain
    return name, text


def _from_tags(text: str) -> str:
    if text.isascii():
        return text
    return _TAGS.sub(_spelled, _FLAG.sub("", text))


def _spelled(run: re.Match[str]) -> str:
    """The run in letters, apart from the letters on either side of it."""
    before, after = run.string[max(0, run.start() - 1) : run.start()], run.string[run.end() : run.end() + 1]
    plain = "".join(chr(ord(char) - 0xE0000) for char in run[0]).strip(_NO_LETTERS)
    return f"{' ' if before.isalnum() else ''}{plain}{' ' if after.isalnum() else ''}"


def _from_percent(text: str) -> str:
    return unquote(text, errors="ignore") if _PERCENT.search(text) else text


def _from_escapes(text: str) -> str:
    if _REFERENCE.search(text):
        text = html.unescape(text)
    if "\\" not in text:
        return text
    text = _CODE_POINT.sub(lambda code: chr(min(int(code[1] or code[2], 16), 0x10FFFF)), text)
    return _BREAK.sub("\n", _PAIR.sub(_paired, text))


def _paired(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def _from_hex(text: str) -> str:
    def plain(run: re.Match[str]) -> str:
        return _shown(bytes.fromhex("".join(_DIGITS.findall(run[0].replace("0x", " "))))) or run[0]

    return _HEX.sub(plain, text)


def _from_base64(text: str) -> str:
    return _BASE64.sub(lambda run: _run(run[0]) or "\n".join(_run(line) or line for line in run[0].splitlines()), text)


def _run(run: str) -> str:
    """What one run of base64 hides; empty where it is a word or prints nothing."""
    body = re.sub(r"\s|=", "", run).translate(str.maketrans("-_", "+/"))
    if _PLAIN_WORD.fullmatch(body):
        return ""
    try:
        return _shown(base64.b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _shown(raw: bytes) -> str:
    """The bytes as text where they print, and where few bytes are words; else empty."""
    text = raw.decode("utf-8", errors="ignore")
    size = max(1, len(text))
    shown = sum(char.isprintable() or char.isspace() for char in text)
    if len(text.encode()) < _PRINTS * len(raw) or shown < _PRINTS * size:
        return ""
    spelled = sum(char.isalpha() or char in " '-." for char in text)
    return text if len(raw) > _SHORT or spelled >= _WORDS * size else ""
