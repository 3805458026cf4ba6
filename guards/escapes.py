r"""JSON's escapes, part by part: what a client's parser makes of `\n`, `\u0041` or a surrogate pair.

Text inside JSON hides a name from whoever reads it as it stands: after a line break `\nMara` is one
word. Before it: an engine's text, cut anywhere. After it: `guards.output` reads it both ways. A
backslash that escapes nothing, or another one, parts words: so JSON in a string of JSON is undone too.
"""

import re

_HEX = "[0-9a-fA-F]"
_HIGH, _LOW = f"[dD][89abAB]{_HEX}{{2}}", f"[dD][c-fC-F]{_HEX}{{2}}"
_PART = re.compile(rf'[^\\]+|\\(?:u{_HIGH}\\u{_LOW}|u{_HEX}{{4}}|["/bfnrt])?')
_OPEN = re.compile(rf"\\(?:u(?:{_HEX}{{0,3}}|{_HIGH}(?:\\(?:u(?:[dD](?:[c-fC-F]{_HEX}?)?)?)?)?))?\Z")


def whole(text: str) -> tuple[str, str]:
    """The text without an escape that has begun at its end, and that."""
    begun = _OPEN.search(text)
    return (text[: begun.start()], begun[0]) if begun else (text, "")


def parts(text: str) -> list[str]:
    """Escapes, each by itself, and what stands between them."""
    return _PART.findall(text)


def undone(text: str) -> str:
    """The text with its escapes undone; those of space and control characters are a space."""
    return "".join(map(_undone, parts(text)))


def _undone(part: str) -> str:
    if part[0] != "\\":
        return part
    if part[1:2] != "u":
        return part[1:] if part[1:] in ('"', "/") else " "
    units = bytes.fromhex(part.replace("\\u", ""))
    return units.decode("utf-16-be", "surrogatepass")
