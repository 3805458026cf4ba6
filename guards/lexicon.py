"""Finds aliases in every view of every turn, by Aho-Corasick automaton.

A strong alias between word boundaries is a hit with score 1, and so is one with a typing error
(`guards.typos`), one that a pronoun of the last turn stands for (`guards.reference`), and one whose
words come one turn after another. Weak aliases never hit here; they support a likeness in
`guards.index`. Cost is linear in the text and does not depend on the number of aliases
(pyahocorasick; 50k aliases over 4 KiB take about 0.1 ms a view).
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import ahocorasick

from guards.aliases import Alias, common_words
from guards.base import Conversation, Hit
from guards.reference import asked, assembled, resolved
from guards.text import View, fold, squash, views
from guards.tiers import Tiers
from guards.typos import Spelling, Spellings, slips

_DISGUISED = 7  # letters an alias needs before views other than the folded one may match it
_JOINED = 8  # letters a name needs to be seen among words without spaces
_UNMISTAKABLE = 12  # letters of a name that nothing else goes on from
_WORD = 10  # letters on either side in which a word is looked for
_SURFACE = 200  # characters of the client's words that are kept
AT_ONCE = 512  # names that are merged on the event loop: some milliseconds
_INLINE = 20_000  # characters judged on the event loop; longer conversations go to a thread


@dataclass(frozen=True, slots=True)
class Automata:
    """Strong aliases of some requests: as folded words, and squashed; None where there are none.

    `longest` is the length of the longest folded alias; `spellings` finds them misspelled. `gone` are requests
    that were discarded since and are not found; until all is built again, their words are still no slips of others.
    """

    folded: Any
    squashed: Any
    longest: int
    spellings: Spellings
    gone: frozenset[str] = frozenset()

    def without(self, gone: frozenset[str]) -> "Automata":
        """The same for whoever must not find some of the requests."""
        if not gone:
            return self
        names = {
            name: left
            for name, requests in self.spellings.names.items()
            if (left := tuple(one for one in requests if one not in gone))
        }
        return replace(self, spellings=replace(self.spellings, names=names), gone=gone)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Strong aliases of one request, as the automata and the spellings want them."""

    keys: tuple[tuple[str, str], ...] = field(repr=False)  # folded, squashed
    spelling: Spelling

    @classmethod
    def of(cls, aliases: Sequence[Alias]) -> "_Entry":
        strong = [alias.text for alias in aliases if alias.strong]
        folded = filter(None, (fold(text).strip() for text in strong))
        return cls(tuple((key, squash(key)) for key in folded), Spelling.of(strong))


def _build(entries: Sequence[tuple[str, _Entry]]) -> Automata:
    folded: dict[str, set[str]] = {}
    squashed: dict[str, set[str]] = {}
    for request, entry in entries:
        for key, letters in entry.keys:
            folded.setdefault(key, set()).add(request)
            if len(letters) >= _DISGUISED:
                squashed.setdefault(letters, set()).add(request)
    spellings = Spellings.build([(request, entry.spelling) for request, entry in entries])
    return Automata(_automaton(folded), _automaton(squashed), max(map(len, folded), default=0), spellings)


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
    """Aliases of all requests; addable and removable while traffic runs. Belongs to one event loop.

    Args:
        at_once: names that are merged on the spot, at most; where it is finite, `settle` does the rest.
    """

    def __init__(self, at_once: float = math.inf) -> None:
        # none is light: a word of one name is no slip of another's in the same automata, so merging tells them apart
        self._tiers: Tiers[_Entry, Automata] = Tiers(_build, lambda entry: 1 + len(entry.keys), at_once, stale=0)

    def add(self, request: str, aliases: Sequence[Alias]) -> None:
        """Searchable at once. Raises `GuardError` when the request is there already."""
        self._tiers.add(request, _Entry.of(aliases))

    async def extend(self, many: Sequence[tuple[str, Sequence[Alias]]]) -> None:
        """Many at a time, built on a thread; searchable on return. Raises as `add` does."""
        await self._tiers.extend([(request, _Entry.of(aliases)) for request, aliases in many])

    async def settle(self) -> bool:
        """Do the merges that adding and discarding left, on a thread. True where views taken now differ."""
        return await self._tiers.settle()

    def discard(self, request: str) -> None:
        self._tiers.discard(request)

    def view(self, requests: frozenset[str]) -> "LexiconView":
        """What a policy sees: these requests, as they are now."""
        return LexiconView(tuple(tier.segment.without(tier.gone) for tier in self._tiers.tiers), requests)


@dataclass(frozen=True, slots=True)
class LexiconView:
    """An immutable set of automata and the requests that count."""

    automata: tuple[Automata, ...] = field(repr=False)
    requests: frozenset[str]

    def mentions(self, text: str) -> Iterator[Mention]:
        """Every request named in a text, once per view that shows it, first place first."""
        if not self.requests or not self.automata:
            return
        spellings = [automata.spellings for automata in self.automata]
        for view in views(text):
            seen: set[str] = set()
            for request, start, stop in chain(_named(self.automata, view), _misspelled(spellings, view)):
                if request in self.requests and request not in seen:
                    seen.add(request)
                    yield Mention(request, view.name, view.span(start, stop) if view.source == text else None)


def _misspelled(spellings: Sequence[Spellings], view: View) -> Iterator[tuple[str, int, int]]:
    for slip in slips(spellings, view.text) if view.spelled else ():
        for request in slip.requests:
            yield request, slip.start, slip.stop


def _named(all_automata: Sequence[Automata], view: View) -> Iterator[tuple[str, int, int]]:
    for automata in all_automata:
        automaton = automata.squashed if view.letters else automata.folded
        for last, (length, requests) in automaton.iter(view.text) if automaton else ():
            start, stop = last + 1 - length, last + 1
            if view.letters:
                span = view.span(start, stop)
                whole = span is not None and (_bounded(view.source, *span) or _run_together(view.source, *span))
            else:
                whole = _bounded(view.text, start, stop) and (view.spelled or length >= _DISGUISED)
            if whole:
                for request in requests:
                    if request not in automata.gone:
                        yield request, start, stop


def _run_together(text: str, start: int, stop: int) -> bool:
    """Whether [start, stop) holds no space and stands among words written without any: "whoisMaraLindanyway"."""
    if stop - start < _JOINED or any(map(str.isspace, text[start:stop])):
        return False
    left, right = text[max(0, start - _WORD) : start].lower(), text[stop : stop + 2 * _WORD].lower()
    before = (
        not left[-1:].isalnum()
        or (text[start - 1].islower() and text[start].isupper())
        or any(left[-size:] in common_words() for size in range(2, len(left) + 1))
    )
    return before and (stop - start >= _UNMISTAKABLE or not right[:1].isalnum() or _goes_on(right))


def _goes_on(right: str) -> bool:
    """Whether words follow: a long one, or two; "Lindsay" is no Lind with something to say."""
    words = [right[:size] for size in range(2, _WORD + 1) if right[:size] in common_words()]
    return any(
        len(word) > 3 or any(right[len(word) : len(word) + size] in common_words() for size in range(2, _WORD))
        for word in words
    )


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
        turns: dict[str, set[int]] = {}
        surfaces: dict[str, str] = {}
        for i, turn in enumerate(conversation.turns):
            for mention in self._view.mentions(turn.text):
                turns.setdefault(mention.request, set()).add(i)
                if mention.span:  # the latest turn wins: it is what the model is asked to answer
                    surfaces[mention.request] = turn.text[slice(*mention.span)][:_SURFACE]
        for text in chain(resolved(conversation.turns), assembled(conversation.turns)):
            for mention in self._view.mentions(text):
                turns.setdefault(mention.request, set()).add(asked(conversation.turns))
        return tuple(
            Hit(request, 1.0, 0.5, self.name, tuple(sorted(at)), surfaces.get(request)) for request, at in turns.items()
        )
