"""What a text names and how it speaks of somebody, whatever was asked to be forgotten.

A reading is made once for each window and compared with the knowledge of every request that is near
(`guards.knowledge`). English patterns, with the commonest words of four other languages beside them.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import NamedTuple

from guards.aliases import common_words, everyday_words, words

Run = tuple[str, ...]  # the folded words of a name

LINKS = frozenset(
    ("of", "the", "in", "and", "for", "to", "a", "on", "at", "with", "from", "de", "da", "di", "la", "le")
)

_ENGLISH = 0.25  # share of common words in a text that is English
_TOKEN = re.compile(r"[^\W_]+(?:['’\-‐][^\W_]+)*")
_SPOKEN = re.compile(r"[^\W_]+(?:['’](?!s\b)[^\W_]+)*")  # of what may be a name, hyphens are gaps
_JOINED = re.compile(r"""[ \-‐\u2011()'"“”]{1,3}""")
_GAP = re.compile(r"[ \-]{1,2}")
_INITIAL = re.compile(r"\. ?")
_NICKNAME = re.compile(r"""(?<=\w) ["'“‘(]((?:[A-Z][\w\-]*)(?: [A-Z][\w\-]*)?)["'”’)] (?=[A-Z])""")
_QUOTED = re.compile(r"""["“]([^"“”]{2,80})["”]|(?<!\w)['‘](.{2,80}?)['’](?!\w)""")
_OPENER = re.compile(r"(?:^|[.?!¿¡:\n][^\S\n]*)([A-ZÀ-Þ][\w’'\-]*)")
_REFERRED = re.compile(
    r"\b(?:the|this|that|an?|which|el|la|le|der|die|o|a)\s+(?:[\w\-’']+\s+){0,5}?([\w\-]+)\s+"
    r"(?:of|from|in|behind|who|known|famous|famed|that|on|with|recogni[sz]ed|responsible|also|whose|born|portraying"
    r"|playing|named|conocid[oa]|famos[oa]|que|connue?|qui|bekannt|detrás|por|de)\b",
    re.IGNORECASE,
)
_WHO = re.compile(
    r"\b(?:who|whom|quién|quien|qui|wer)\b"
    r"|(?:portrayed|played|directed|written|voiced|created|composed|produced|hosted) by _",
    re.IGNORECASE,
)
_ASKS = re.compile(r"(?:^|[.?!:¿]\s*)(?:(?:and|so|but|y|et|und) )?(?:who|whom|quién|qui|wer)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:he|his|him|she|her|hers|himself|herself|su|sus|il|elle|ihr|sein)\b", re.IGNORECASE)


@cache
def plain() -> frozenset[str]:
    """Folded words that say nothing about whom a text is about."""
    return common_words() | everyday_words()


@cache
def borne() -> frozenset[str]:
    """Folded names that many bear: places, and the commonest surnames."""
    return frozenset(files("guards").joinpath("borne.txt").read_text("utf-8").split())


@cache
def people() -> frozenset[str]:
    """Nouns by which anybody may be referred to, in a few languages."""
    return frozenset(files("guards").joinpath("people.txt").read_text("utf-8").split())


@dataclass(frozen=True, slots=True)
class Reading:
    """A text, read.

    Attributes:
        runs: names: neighbouring capitalised words. titles: what stands in quotation marks.
        openers: lone capitalised words that begin a sentence: names or not, nobody can tell.
        words: the folded words that are not common.
        roles: nouns by which somebody is referred to ("the artist behind …").
        foreign: few common English words: a word unknown to the request's texts then says nothing.
        who: speaks of "who". asks: a sentence asks for a person, no clause. pronoun: speaks of one.
    """

    runs: tuple[Run, ...] = field(repr=False)
    titles: tuple[Run, ...] = field(repr=False)
    openers: frozenset[str] = field(repr=False)
    words: frozenset[str] = field(repr=False)
    roles: frozenset[str] = field(repr=False)
    foreign: bool
    who: bool
    asks: bool
    pronoun: bool

    @classmethod
    def of(cls, text: str) -> "Reading":
        joined = unquoted(text)
        titles = dict.fromkeys(tuple(words(double or single)) for double, single in _QUOTED.findall(joined))
        said = words(text)
        return cls(
            runs=tuple(dict.fromkeys(run for run in runs(joined) if run not in titles)),
            titles=tuple(filter(None, titles)),
            openers=frozenset(word for opener in _OPENER.findall(text) for word in words(opener)[:1]),
            words=frozenset(said) - plain(),
            roles=frozenset(word.lower() for word in _REFERRED.findall(text)),
            foreign=sum(word in plain() for word in said) < _ENGLISH * len(said),
            who=bool(_WHO.search(text)),
            asks=bool(_ASKS.search(text)),
            pronoun=bool(_PRONOUN.search(text)),
        )


class Token(NamedTuple):
    """A folded word; `name`: it looks like one; `joined`: only a gap that names have stands before it."""

    word: str
    name: bool
    joined: bool


class Text(str):
    """A text that is read once, however many requests it is compared with."""

    @cached_property
    def reading(self) -> Reading:
        return Reading.of(self)

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """Every word; where none has a capital, the uncommon ones look like names."""
        return tuple(_tokens(self))

    @cached_property
    def spoken(self) -> frozenset[str]:
        """The words of `tokens`."""
        return frozenset(token.word for token in self.tokens)


def _tokens(text: str) -> Iterator[Token]:
    cased = any(char.isupper() for char in text)
    before, end = "", 0
    for match in _SPOKEN.finditer(text):
        word = "".join(words(match[0]))
        gap = text[end : match.start()]
        joined = _JOINED.fullmatch(gap) is not None or (gap in (".", ". ") and len(before) == 1)
        yield Token(word, match[0][0].isupper() if cased else word not in common_words(), joined)
        before, end = word, match.end()


def unquoted(text: str) -> str:
    """A nickname within a name, without its quotation marks: Ann "Nan" Lee → Ann Nan Lee."""
    return _NICKNAME.sub(r" \1 ", text)


def runs(text: str) -> Iterator[Run]:
    """Neighbouring capitalised words, links between them included, in order."""
    run: list[str] = []
    links: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        token, gap = match[0], text[end : match.start()]
        end = match.end()
        near = bool(run) and (_GAP.fullmatch(gap) or (_INITIAL.fullmatch(gap) and len(run[-1]) <= 2))
        capital = token[0].isupper() or (token[0].isdigit() and near)
        if near and token in LINKS and len(links) < 2:
            links.append(token)
            continue
        if not (capital and near):
            if run:
                yield tuple(run)
            run, links = [], []
        if capital:
            run += [*links, *words(token)]
            links = []
        if run and token.endswith(("'s", "’s")):
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)


def bare(run: Run, own: Collection[str] = ()) -> Run:
    """Without the common words that it begins with: "Did Lind" is Lind. Words in `own` are never common."""
    first = next((i for i, word in enumerate(run) if word in own or word not in plain()), len(run))
    return run[first:]
