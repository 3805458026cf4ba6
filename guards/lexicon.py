"""Finds aliases in every view of every turn, by Aho-Corasick automaton.

A strong alias between word boundaries is a hit with score 1. Weak aliases never hit here; they
support a likeness in `guards.index`. Cost is linear in the text and does not depend on the number
of aliases (pyahocorasick; 50k aliases over 4 KiB take about 0.1 ms a view).
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ahocorasick

from guards.aliases import Alias
from guards.base import Conversation, Hit
from guards.text import View, fold, squash, views
from guards.tiers import Tiers

_DISGUISED = 7  # letters an alias needs before views other than the folded one may match it
_SURFACE = 200  # characters of the client's words that are kept
_INLINE = 20_000  # characters judged on the event loop; longer conversations go to a thread


@dataclass(frozen=True, slots=True)
class Automata:
    """Strong aliases of some requests: as folded words, and squashed; None where there are none.

    `longest` is the length of the longest folded alias.
    """

    folded: Any
    squashed: Any
    longest: int


def _build(entries: Sequence[tuple[str, tuple[Alias, ...]]]) -> Automata:
    folded: dict[str, set[str]] = {}
    squashed: dict[str, set[str]] = {}
    for request, aliases in entries:
        for alias in aliases:
            key = fold(alias.text).strip()
            if alias.strong and key:
                folded.setdefault(key, set()).add(request)
                if len(squash(key)) >= _DISGUISED:
                    squashed.setdefault(squash(key), set()).add(request)
    return Automata(_automaton(folded), _automaton(squashed), max(map(len, folded), default=0))


def _automaton(keys: dict[str, set[str]]) -> Any:
    """None when there is nothing to find: an empty automaton cannot search."""
    if not keys:
        return None
    automaton = ahocorasick.Automaton()
    for key, requests in keys.items():
        automaton.add_word(key, (len(key), tuple(sorted(requests))))
    automaton.make_automaton()
    return automaton


@dataclass(frozen=True, slots=True)
class Mention:
    """A strong alias in a text. `span` are the original characters, where the view allows."""

    request: str
    view: str
    span: tuple[int, int] | None


class LexiconIndex:
    """Aliases of all requests; addable and removable while traffic runs."""

    def __init__(self) -> None:
        self._tiers: Tiers[tuple[Alias, ...], Automata] = Tiers(_build)

    def add(self, request: str, aliases: Sequence[Alias]) -> None:
        """Raises `GuardError` when the request is there already."""
        self._tiers.add(request, tuple(aliases))

    def discard(self, request: str) -> None:
        self._tiers.discard(request)

    def view(self, requests: frozenset[str]) -> "LexiconView":
        """What a policy sees: these requests, as they are now."""
        return LexiconView(tuple(tier.segment for tier in self._tiers.tiers), requests)


@dataclass(frozen=True, slots=True)
class LexiconView:
    """An immutable set of automata and the requests that count."""

    automata: tuple[Automata, ...] = field(repr=False)
    requests: frozenset[str]

    def mentions(self, text: str) -> Iterator[Mention]:
        """Every request named in a text, once per view that shows it, first place first."""
        if not self.requests or not self.automata:
            return
        for view in views(text):
            seen: set[str] = set()
            for automata in self.automata:
                for request, start, stop in _matches(automata, view, text):
                    if request in self.requests and request not in seen:
                        seen.add(request)
                        yield Mention(request, view.name, view.span(start, stop))


def _matches(automata: Automata, view: View, text: str) -> Iterator[tuple[str, int, int]]:
    squashed = view.name == "squashed"
    automaton = automata.squashed if squashed else automata.folded
    if automaton is None:
        return
    for last, (length, requests) in automaton.iter(view.text):
        start, stop = last + 1 - length, last + 1
        if squashed:
            span = view.span(start, stop)
            bounded = span is not None and _bounded(text, *span)
        else:
            bounded = _bounded(view.text, start, stop) and (view.name == "folded" or length >= _DISGUISED)
        if bounded:
            for request in requests:
                yield request, start, stop


def _bounded(text: str, start: int, stop: int) -> bool:
    """Whether [start, stop) neither begins nor ends within a word. Scripts without spaces have no boundaries."""
    return not (joined(text[start - 1 : start], text[start]) or joined(text[stop - 1], text[stop : stop + 1]))


def joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word; either may be empty at the ends of a text."""
    return left.isalnum() and right.isalnum() and not (spaceless(left) or spaceless(right))


def spaceless(char: str) -> bool:
    """Whether a character belongs to a script that writes words without spaces (Thai to Khmer, kana, Han)."""
    return (
        "\u0e00" <= char <= "\u0eff"
        or "\u1000" <= char <= "\u109f"
        or "\u1780" <= char <= "\u17ff"
        or ("\u3040" <= char <= "\u9fff" or char >= "\U00020000")
    )


class LexiconGuard:
    """Judges by names alone. A hit names the turns where a strong alias stands, in the client's words."""

    name = "lexicon"

    def __init__(self, view: LexiconView) -> None:
        self._view = view

    async def judge(self, conversation: Conversation) -> Sequence[Hit]:
        if sum(len(turn.text) for turn in conversation.turns) > _INLINE:
            return await asyncio.to_thread(self._judge, conversation)
        return self._judge(conversation)

    def _judge(self, conversation: Conversation) -> tuple[Hit, ...]:
        turns: dict[str, list[int]] = {}
        surfaces: dict[str, str] = {}
        for i, turn in enumerate(conversation.turns):
            for mention in self._view.mentions(turn.text):
                found = turns.setdefault(mention.request, [])
                if i not in found:
                    found.append(i)
                if mention.span:  # the latest turn wins: it is what the model is asked to answer
                    surfaces[mention.request] = turn.text[slice(*mention.span)][:_SURFACE]
        return tuple(
            Hit(request, 1.0, 0.5, self.name, tuple(at), surfaces.get(request)) for request, at in turns.items()
        )
