"""A listed fact said in other words: the slot of its answer, while its subject stands in the window.

The slot of a fact is what its answer tells and its question does not: names and numbers where these are
a third of it, otherwise all telling words (one name in a long answer is not what it tells). It is said
when half of it, by weight, stands in one sentence (a number or a month weighs half a word, so "April"
or "23" alone say nothing of "April 23"); a slot of a word or two must also be what is talked of: a
telling word of its question, one that no other question of the request has, stands in the sentence or
in what was asked, or the client offers it; or all of it stands in one sentence with the subject's name,
or in the one before; or all else that its answer tells does, as where the answer is given as it was
filed. What another of the request's questions gives away, and the words a fact is told with ("works",
"lives"), are left out where something else is told.

What a client takes for granted tells it nothing, where it names the subject: "Why did Mara Lind, the
baker, leave?" What it offers to be chosen or confirmed, in any other kind of sentence, would be told.

A fact is watched only while its subject stands in the window: named in what was asked, touched or nearly
touched by it, or named in the last `WINDOW` sentences. So "April 23" blocks nobody else, and nobody else
waits. Where the subject comes after the slot, in the same sentence or as the answer to a reverse
question, the stream stops before the subject's name; before the slot, where the client had named it.

While a fact is watched its sentence is held from the first word of the slot, and the word being
written; a sentence ends after `SENTENCE` words at the latest.
"""

import calendar
import re
from collections import Counter, deque
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from guards.aliases import Alias, everyday_words
from guards.evidence import Names
from guards.lexicon import LexiconIndex, LexiconView
from guards.names import Prefixes
from guards.reading import Text
from guards.relations import FUNCTION_WORDS
from guards.targets import Source
from guards.text import fold
from guards.tiers import Tiers
from guards.watch import LONGEST_WORD, Chunk, Found, Piece, split

WINDOW = 3
SENTENCE = 40
_SHARE = 3  # telling words for each name or number, at most, where these are what is told
_LIGHT = 4  # weight up to which a slot must be what is talked of
_STEM = 4  # letters by which "lives" is "lived"
_SAYS = frozenset(re.findall(r"\w+", "born called known lived lives named worked works"))  # what a fact is told with
_ENDS = frozenset(".?!。？！")
_MONTHS = frozenset(fold(month) for month in calendar.month_name[1:])
_CASED = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r".*?[.?!\n](?=\s|$)|.+", re.S)
_ASIDE = re.compile(r":.*|\([^)]*\)?|\[[^\]]*\]?", re.S)  # where lists stand
_OPTION = re.compile(r"\b[a-e1-9][).:]", re.I)
_OPEN = frozenset(  # what a question has that is not to be answered by yes, no or a choice
    re.findall(r"\w+", "about describe elaborate explain how synopsis summary what when where who whom whose why")
)
_CHOICE = frozenset(
    re.findall(
        r"\w+",
        "choose chosen correct either false guess if likelier option options or pick rather right select than true "
        "versus vs which whether wrong yes",
    )
)


@dataclass(frozen=True, slots=True)
class Slot:
    """The telling words of an answer, folded, the weight from which they are said, and what they are about.

    `about` are the stems of the question's telling words; empty where the slot says enough by itself. `whole` are
    all telling words of the answer, where there are several, and it does not.
    """

    words: frozenset[str] = field(repr=False)
    need: int
    about: frozenset[str] = field(repr=False)
    whole: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, question: str, answer: str, names: Collection[str], given: Collection[str] = ()) -> "Slot | None":
        """None where the answer tells nothing that its question does not.

        Args:
            names: words of the subject's names, folded.
            given: words of the request's other questions: what these give away tells little.
        """
        known = {*split(fold(question)), *names, *FUNCTION_WORDS}
        telling = [word for word in split(fold(answer)) if word not in known and (len(word) > 1 or not word.isalpha())]
        plain = everyday_words()
        cased = {fold(word) for word in _CASED.findall(answer) if word[0].isupper()}
        hard = [word for word in telling if _is_number(word) or (word in cased and word not in plain)]
        words = frozenset(hard if len({*hard}) * _SHARE >= len({*telling}) else telling)
        words = words.difference(given) or words
        if weight(words) <= _LIGHT:
            words = words - _SAYS or words
        total = weight(words)
        if not words:
            return None
        about = _stems(_content(question, names)) if total <= _LIGHT else frozenset()
        whole = frozenset(telling) if about and len({*telling}) > 1 else frozenset[str]()
        return cls(words, min(total, max(2, -(-total // 2))), about, whole)

    def said(
        self, words: Collection[str], asked: Collection[str] = (), offered: Collection[str] = (), beside: bool = False
    ) -> bool:
        """Whether these words say it, in answer to those asked, some of which were offered to be confirmed.

        `beside`: the subject's name stands among them.
        """
        if weight(self.words.intersection(words)) < self.need:
            return False
        if beside and self.words.issubset(words):
            return True
        if not self.about or not self.about.isdisjoint(_stems([*words, *asked])) or not self.words.isdisjoint(offered):
            return True
        return bool(self.whole) and self.whole.issubset(words)


def granted(question: str) -> frozenset[str]:
    """The words, folded, that an open question takes for granted: none of what it offers for a choice."""
    found: set[str] = set()
    for sentence in _SENTENCE.findall(question):
        words = {*split(fold(_ASIDE.sub(" ", sentence)))}
        if not words.isdisjoint(_OPEN) and words.isdisjoint(_CHOICE) and len(_OPTION.findall(sentence)) < 2:
            found |= words
    return frozenset(found)


def weight(words: Collection[str]) -> int:
    """Two for a word, one for a number or a month."""
    return sum(1 if _is_number(word) or word in _MONTHS else 2 for word in words)


def _content(question: str, names: Collection[str]) -> list[str]:
    return [word for word in split(fold(question)) if word not in names and word not in FUNCTION_WORDS]


def _stems(words: Collection[str]) -> frozenset[str]:
    return frozenset(word[:_STEM] for word in words)


def _is_number(word: str) -> bool:
    return any(char.isdigit() for char in word)


@dataclass(frozen=True, slots=True)
class Listed:
    """The facts of one request, and the names of whom they are about."""

    names: Names = field(repr=False)
    aliases: tuple[str, ...] = field(repr=False)
    slots: tuple[Slot, ...] = field(repr=False)


def listed(source: Source) -> Listed | None:
    """What a stream is watched for; None where no fact tells anything."""
    aliases = tuple(filter(None, (source.subject, *source.aliases)))
    names = Names.of(aliases)
    given = frozenset(word for question, _ in source.facts for word in split(fold(question)))
    slots = (Slot.of(question, answer, names.parts, given) for question, answer in source.facts)
    found = dict.fromkeys(slot for slot in slots if slot is not None)
    shared = Counter(chain.from_iterable(_stems(_content(question, names.parts)) for question, _ in source.facts))
    common = frozenset(stem for stem, count in shared.items() if count > 1)
    own = (replace(slot, about=slot.about - common or slot.about) for slot in found)
    return Listed(names, aliases, tuple(own)) if found else None


@dataclass(frozen=True, slots=True)
class _Segment:
    """Facts by request, and requests by the words of their subjects' names."""

    facts: dict[str, Listed] = field(repr=False)
    parts: dict[str, tuple[str, ...]] = field(repr=False)


def _build(entries: Sequence[tuple[str, Listed]]) -> _Segment:
    parts: dict[str, list[str]] = {}
    for request, facts in entries:
        for part in facts.names.parts:
            parts.setdefault(part, []).append(request)
    return _Segment(dict(entries), {part: tuple(found) for part, found in parts.items()})


class Facts:
    """The listed facts of all requests; addable and removable while traffic runs."""

    def __init__(self) -> None:
        self._tiers: Tiers[Listed, _Segment] = Tiers(_build)
        self._subjects = LexiconIndex()

    def add(self, source: Source) -> None:
        """Raises `GuardError` when the request is there already."""
        if facts := listed(source):
            self._tiers.add(source.request, facts)
            self._subjects.add(source.request, [Alias(alias, strong=True) for alias in facts.aliases])

    def discard(self, request: str) -> None:
        self._tiers.discard(request)
        self._subjects.discard(request)

    def view(self, requests: frozenset[str]) -> "FactView":
        """What a policy sees: these requests, as they are now."""
        return FactView(tuple(tier.segment for tier in self._tiers.tiers), self._subjects.view(requests))


@dataclass(frozen=True, slots=True)
class FactView:
    """An immutable set of facts, and the names of their subjects."""

    segments: tuple[_Segment, ...] = field(default=(), repr=False)
    subjects: LexiconView = field(default_factory=partial(LexiconView, (), frozenset()))

    def named(self, text: str) -> frozenset[str]:
        """The requests whose subject a text names, in full or by a part that no stranger's name takes up."""
        words, read = set(split(fold(text))), Text(text)
        return frozenset(
            request
            for segment in self.segments
            for request in {one for word in words for one in segment.parts.get(word, ())}
            if request in self.subjects.requests and segment.facts[request].names.named_in(read)
        )

    def slots(self, request: str) -> tuple[Slot, ...]:
        """The slots of a request's facts; none where it has no facts or does not count."""
        if request not in self.subjects.requests:
            return ()
        return next((segment.facts[request].slots for segment in self.segments if request in segment.facts), ())


class _Watched:
    """The facts of some requests, by the words of their slots and by the stems of what they are about."""

    def __init__(self, view: FactView, requests: frozenset[str]) -> None:
        self.requests = requests
        self.by_word: dict[str, list[tuple[str, Slot]]] = {}
        self.by_stem: dict[str, list[tuple[str, Slot]]] = {}
        for request in requests:
            for slot in view.slots(request):
                for word in slot.words:
                    self.by_word.setdefault(word, []).append((request, slot))
                for stem in slot.about | _stems(slot.whole):
                    self.by_stem.setdefault(stem, []).append((request, slot))


class FactWatch:
    """Follows one stream sentence by sentence.

    Args:
        asked: requests whose subject stands in the window throughout.
        question: words of what was asked; a slot among them is answered by the subject's name.
        named: requests whose subject the client has named: to these what it took for granted is no answer.
        granted: the words that it did.
    """

    def __init__(
        self,
        view: FactView,
        asked: frozenset[str] = frozenset(),
        question: frozenset[str] = frozenset(),
        named: frozenset[str] = frozenset(),
        granted: frozenset[str] = frozenset(),
    ) -> None:
        self._view = view
        self._asked = asked | named
        self._question = question
        self._named = named
        self._granted = granted
        self._offered = question - granted
        self._subjects = Prefixes(view.subjects.automata)
        self._watched = _Watched(view, self._asked)
        self._since: dict[str, int] = {}  # subjects named in the answer → the sentence in which they were
        self._sentence = 0
        self._words: set[str] = set()  # of this sentence
        self._before: set[str] = set()  # of the one before
        self._count = 0
        self._end: int | None = None  # of a mark that may have ended the sentence
        self._held: int | None = None
        self.safe = 0

    def read(self, chunk: Chunk) -> Found | None:
        """The first fact that was said."""
        mentions = [(found, request) for found, requests in self._subjects.read(chunk) for request in requests]
        pieces = deque(chunk.pieces)
        for found, request in mentions:
            while pieces and pieces[0].stop <= found.at:
                if (said := self._piece(pieces.popleft())) is not None:
                    return said
            if (said := self._mention(found, request)) is not None:
                return said
        for piece in pieces:
            if (said := self._piece(piece)) is not None:
                return said
        self.safe = min(self._subjects.safe, self._free(chunk))
        return None

    def fork(self) -> "FactWatch":
        other = copy(self)
        other._subjects, other._since = self._subjects.fork(), {**self._since}
        other._words, other._before = {*self._words}, {*self._before}
        return other

    def tells(self, before: str, text: str) -> bool:
        words = split(fold(before + text))
        return bool(words) and any(word.startswith(words[-1]) for word in self._watched.by_word)

    def _free(self, chunk: Chunk) -> int:
        if self._held is not None:
            return self._held
        if self._watched.by_word and chunk.open is not None and chunk.stop - chunk.open <= LONGEST_WORD:
            return chunk.open
        return chunk.stop

    def _piece(self, piece: Piece) -> Found | None:
        if not piece.text[0].isalnum():
            if piece.text in _ENDS:
                self._end = piece.stop
            return None
        if (self._end is not None and piece.start > self._end) or self._count == SENTENCE:
            self._next_sentence()
        self._end = None
        self._count += 1
        if piece.stop - piece.start > LONGEST_WORD:  # no longer held
            return None
        self._words.add(piece.text)
        told = self._watched.by_word.get(piece.text, [])
        if told and self._held is None:
            self._held = piece.start
        told = [*told, *self._watched.by_stem.get(piece.text[:_STEM], [])]
        said = [request for request, slot in told if self._says(request, slot, self._words)]
        start = piece.start if self._held is None else self._held
        return Found(piece.stop, start, min(said)) if said else None

    def _mention(self, found: Found, request: str) -> Found | None:
        """A subject was named: after its slot it says the fact, before it the fact is watched."""
        slots = self._view.slots(request)
        if not slots:
            return None
        words = self._words | self._before
        if request not in self._named:
            words |= self._question
        self._since[request] = self._sentence
        if any(self._says(request, slot, words) for slot in slots):
            held = self._held if request in self._asked else None  # of whom the client asked, the slot alone would tell
            return Found(found.at, found.start if held is None else min(held, found.start), request)
        if request not in self._watched.requests:
            self._watched = _Watched(self._view, self._watched.requests | {request})
        return None

    def _says(self, request: str, slot: Slot, words: set[str]) -> bool:
        """Whether these words, without what the client took for granted of the subject, say the fact."""
        beside = self._since.get(request) == self._sentence
        if request in self._named:
            return slot.said(words - self._granted, self._question, self._offered, beside)
        return slot.said(words, self._question, beside=beside)

    def _next_sentence(self) -> None:
        self._sentence += 1
        self._count, self._held = 0, None
        self._words, self._before = set(), self._words
        over = {request for request, named in self._since.items() if self._sentence - named > WINDOW}
        if over:
            self._since = {request: named for request, named in self._since.items() if request not in over}
            self._watched = _Watched(self._view, self._watched.requests - (over - self._asked))
