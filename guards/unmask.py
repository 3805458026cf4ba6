"""What a text may say beside what it shows, for guards that judge by likeness.

Names are looked for in every view (`guards.text`); an encoder is asked only where a disguise is
plausible, for each reading costs an encoding. What was decoded is always a reading, and so are letters
of other scripts amid Latin ones. Leet, letters set apart or run together, rot13 and reversed words are
readings where undoing them turns words that nobody knows into common ones, at least `GAIN` of them and
`SHARE` of all that were unknown, or into words of which the letters follow each other as letters do.
An honest text knows its words as it stands and has one reading.
"""

import codecs
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from itertools import chain, pairwise, product

from guards.aliases import common_words, everyday_words
from guards.decode import decoded
from guards.text import fold, shown

GAIN = 2
SHARE = 0.35
ODDS = 1.5  # nats a letter by which one undone word must be likelier than what stands there: no honest name is
ALSO = 0.5  # and by which others beside it must be
CLAUSE = 4  # words from which what was hidden is read alone too

_APART = 0.6  # share of single characters among all tokens from which all letters stand apart
_TOGETHER = 22  # letters of a token that may be several words
_UNKNOWN = 2.0, 0.8  # what a stretch that is no word costs a split, and each of its letters; a word costs 1
_LONGEST = 14  # letters of a common word
_ODD = 5  # letters of a word whose sequence can be told from chance

_TOKEN = re.compile(r"\S+")
_WORD = re.compile(r"[^\W\d_]+")
_SIGNS = r"\-._*/|·~"
_RUN = re.compile(rf"(?<!\S)\S(?: \S){{3,}}(?![^\s.,;:?!\"')])|(?<![^\W_])[^\W_](?:([{_SIGNS}])[^\s{_SIGNS}]){{3,}}")
_BY_SPACE = re.compile(r"(?<=\S) (?=\S)")
_PAIR = re.compile(rf"\b[^\W_](?:[{_SIGNS}][^\s{_SIGNS}])+(?![^\s{_SIGNS}])")
_GAP = re.compile(rf"(?<=[^\W_])[{_SIGNS}] [{_SIGNS}](?=[^\W_])")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TURNED = re.compile(r"\b[^\W\d_A-Z]{2,}[A-Z](?:[-' ][^\W\d_A-Z]+[A-Z])*\b")
_SIGNED = re.compile(r"(?<![\w@$!|+€])[\w@$!|+€]*[013456789@$!|+€][\w@$!|+€]*")
_ONE = "\0"  # stands for 1, ! and | until it is decided which letter they are
_LEET = str.maketrans("013456789@$!|+€", f"o{_ONE}easgtbgas{_ONE}{_ONE}te")
_AMBIGUOUS = 4  # ones of a token of which both letters are tried
_EDGES = ".,;:?!\"'()"


def unmasked(text: str) -> tuple[str, ...]:
    """What a text may stand for; an honest one for itself alone.

    Where something certain was put back in its place (a decoded run, unseen characters, letters set
    apart), that is read instead: all that was shown stands in it still, and a question of which the
    names are hidden would be taken for one that names nobody. Everything else is read beside the text.
    """
    plain = [text, *(hidden for _, hidden in decoded(text))][-1]  # decoded through and through
    if not plain.isascii() and (_mixed(plain) or _worth(plain.split(), [fold(token) for token in plain.split()])):
        plain = shown(plain)
    plain = _drawn_together(plain)
    found = dict.fromkeys((plain, _changed(text, plain)))
    for reading in _undone(plain):
        found |= dict.fromkeys((reading, _changed(text, reading)))
    return tuple(filter(None, found))


def _undone(text: str) -> Iterator[str]:
    words = " ".join(_BY_SPACE.sub("", text).split()) if _all_apart(text) else text  # a wider gap stays a space
    if any(len(token) >= _TOGETHER for token in words.split()):
        words = _split(words)
    if words != text:
        yield words
    plain = _SIGNED.sub(_from_leet, text)
    if plain != text and _worth(text.split(), plain.split()):
        yield plain
    if _TURNED.search(text):
        yield _TURNED.sub(lambda run: _backwards(run[0]), text)
    unknown = [word for word in _WORD.findall(text) if not _known(word)]
    if not unknown:
        return
    if _worth(unknown, [*map(_rot13, unknown)]):
        yield _stretch(text, _rot13, _rot13)
    elif any(_gained(word) >= ODDS for word in unknown):
        yield _WORD.sub(lambda word: _rot13(word[0]) if _gained(word[0]) >= ALSO else word[0], text)
    if _worth(unknown, [*map(_backwards, unknown)]):
        yield _stretch(text, _backwards, _backwards)
        yield _stretch(text, _backwards, lambda words: " ".join(map(_backwards, words.split(" "))))


def _known(word: str) -> bool:
    word = word.lower()
    return word in common_words() or word in everyday_words()


def _worth(before: list[str], after: list[str]) -> bool:
    """Whether enough unknown words of two letters and more became known ones; word by word."""
    trimmed = [(one.strip(_EDGES), other.strip(_EDGES)) for one, other in zip(before, after, strict=False)]
    unknown = [(one, other) for one, other in trimmed if one != other and not _known(one)]
    gain = sum(len(other) > 1 and _known(other) for _, other in unknown)
    return gain >= max(GAIN, SHARE * len(unknown))


@cache
def _follows() -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """How often each letter follows another in known words, `^` before the first; and each letter anything."""
    pairs = Counter(pair for word in common_words() | everyday_words() for pair in pairwise(f"^{word}"))
    first: Counter[str] = Counter()
    for (letter, _), count in pairs.items():
        first[letter] += count
    return pairs, first


def _fluency(word: str) -> float:
    """Mean log-probability of a letter after the one before."""
    pairs, first = _follows()
    return sum(math.log((pairs[pair] + 0.1) / (first[pair[0]] + 2.6)) for pair in pairwise(f"^{word.lower()}")) / len(
        word
    )


def _gained(word: str) -> float:
    """By how much rot13 makes a word likelier, in nats a letter; no known word and no acronym gains."""
    turned = _rot13(word)
    if _known(word) or word.isupper() or not word.isascii():
        return 0.0
    if _known(turned):
        return ALSO
    return _fluency(turned) - _fluency(word) if len(word) >= _ODD else 0.0


def _mixed(text: str) -> bool:
    """Whether letters that only look Latin, or nothing seen at all, stand in Latin words or are words among them."""
    tokens = text.split()
    latin = 2 * sum(map(_latin, tokens)) > len(tokens)
    for token in tokens:
        hides = [_hides(char) for char in token if char.isalpha() or _hides(char)] if not token.isascii() else []
        if any(hides) and (_latin(token) or (latin and len(hides) > GAIN and all(hides))):
            return True
    return False


def _latin(word: str) -> bool:
    return any(char.isascii() and char.isalpha() for char in word)


@lru_cache(4096)
def _hides(char: str) -> bool:
    """Not Latin, but folded to Latin or to nothing."""
    if char.isascii():
        return False
    plain = fold(char)
    if not plain:
        return not unicodedata.combining(char)  # an accent; encoders strip it themselves
    return char.isalpha() and plain.isascii() and plain.isalnum() and not "\u00a0" <= char <= "\u024f"


def _drawn_together(text: str) -> str:
    """Letters that stand apart amid words, as words again."""
    if _all_apart(text):
        return text
    together = _RUN.sub(lambda run: run[0] if run[1] == "." and run[0].isupper() else run[0][::2], text)  # "F.A.M.E."
    return _GAP.sub(" ", _PAIR.sub(lambda run: run[0][::2], together)) if together != text else text


def _all_apart(text: str) -> bool:
    tokens = _TOKEN.findall(text)
    return len(tokens) > GAIN and sum(len(token) == 1 for token in tokens) >= _APART * len(tokens)


def _split(text: str) -> str:
    """Long tokens as the words that they are made of; a token in which fewer than three words are known stays."""

    def parts(token: re.Match[str]) -> str:
        if len(token[0]) < _TOGETHER:
            return token[0]
        found = [part for word in _CAMEL.sub(" ", token[0]).split() for part in _WORD.sub(_segmented, word).split()]
        return " ".join(found) if sum(map(_known, found)) > GAIN else token[0]

    return _TOKEN.sub(parts, text)


def _segmented(word: re.Match[str]) -> str:
    """A word as the cheapest sequence of common words and stretches that are none."""
    letters = word[0].lower()
    if _known(letters):
        return f" {word[0]} "
    start_cost, letter_cost = _UNKNOWN
    best = [(0.0, 0)]  # cost of the first letters, and where their last part starts
    stray = (math.inf, 0)  # cost, less that of its letters, and start of the best stretch that is no word
    for stop in range(1, len(letters) + 1):
        stray = min(stray, (best[stop - 1][0] + start_cost - letter_cost * (stop - 1), stop - 1))
        starts = [stop - size for size in range(2, min(_LONGEST, stop) + 1) if _known(letters[stop - size : stop])]
        best.append(min([(stray[0] + letter_cost * stop, stray[1]), *((best[i][0] + 1.0, i) for i in starts)]))
    parts: list[str] = []
    stop = len(letters)
    while stop:
        start = best[stop][1]
        parts.append(word[0][start:stop])
        stop = start
    return f" {' '.join(reversed(parts))} "


def _from_leet(match: re.Match[str]) -> str:
    """A one is an i or an l: what makes a word, or a likely one; a last exclamation mark may be none."""
    token = match[0]
    bare = token.rstrip("!")
    if bare.isalpha() or token.isdigit():
        return token
    plain = [word for one in (bare, token) for word in _ones(one.translate(_LEET))]
    if word := next(filter(_known, plain), ""):
        return word
    likely = max(filter(str.isalpha, plain), key=_fluency, default="")
    return likely[:1].upper() + likely[1:] if any(map(str.isalpha, token)) and likely else token


def _ones(word: str) -> Iterator[str]:
    """A word with each of its first ones, and marks that may be ones, as an i and as an l."""
    parts = word.split(_ONE, _AMBIGUOUS)
    for letters in product("il", repeat=len(parts) - 1):
        yield "".join(chain.from_iterable(zip(parts, (*letters, ""), strict=True))).replace(_ONE, "i")


def _rot13(text: str) -> str:
    return codecs.encode(text, "rot13")


def _backwards(text: str) -> str:
    return text[::-1]


def _stretch(text: str, of_word: Callable[[str], str], of_text: Callable[[str], str]) -> str:
    """A text undone from the first word that becomes known to the last, with the unknown words next to them."""
    words = list(_WORD.finditer(text))
    strange = [not _known(word[0]) for word in words]
    turned = [i for i, word in enumerate(words) if strange[i] and len(word[0]) > 1 and _known(of_word(word[0]))]
    first, last = turned[0], turned[-1]
    while first > 0 and strange[first - 1]:
        first -= 1
    while last + 1 < len(words) and strange[last + 1]:
        last += 1
    start, stop = words[first].start(), words[last].end()
    return f"{text[:start]}{of_text(text[start:stop])}{text[stop:]}"


def _changed(text: str, reading: str) -> str:
    """What a reading does not share with the text at either end, where that is a clause within more; else empty."""
    old, new = text.split(), reading.split()
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    old, new = old[start:], new[start:]
    end = next(
        (i for i, (a, b) in enumerate(zip(old[::-1], new[::-1], strict=False)) if a != b), min(len(old), len(new))
    )
    clause = new[: len(new) - end]
    return " ".join(clause) if len(clause) >= CLAUSE and (start or end) else ""
