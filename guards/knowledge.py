"""What a request's own texts say about its subject, beside its name.

"Which year did the star of 'Full House' …", "Where did Lind study?", "Who is Mara Ellen Lind?": none
of these need hold the name that was filed. Documents, facts, examples and what the model was heard to
say hold what gives them away: other names ("born …"), the short name by which the texts go on, the
titles, people and places they speak of, the words that are frequent in them and rare elsewhere, and
the roles that the subject is introduced with. Each becomes a number of evidence about a text;
`guards.classifier` weighs them.

guards.md has titles and roles as aliases. Here they are evidence: a title alone is also how a
neighbour is asked about.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

from guards.aliases import words
from guards.conversation import sentences
from guards.reading import LINKS, Reading, Run, bare, borne, people, plain, runs, unquoted

FEATURES = (
    "also",  # a whole name of the subject: as filed, or as only the texts give it
    "short",  # how regularly the texts use this lone word for the subject
    "known",  # how telling the most telling title, person or place is
    "second",  # the next
    "strangers",  # names that the texts do not hold, up to 3
    "words",  # Σ of log-odds of the words, by the root of their number: long texts are no likelier
    "mean",  # their mean
    "absent",  # share of words that the texts never use
    "role",  # somebody is referred to by a role
    "reference",  # role × known
    "who",  # a person is asked for: where it is the subject, the output guard will see the name
    "pronoun",  # somebody is spoken of
)

_WORDS, _RUNS = 1_500, 600  # kept, of the most telling: what bounds a request's size
_LENGTH = 80  # characters of what is kept: a blob is no word, a line of capitals no name
_KEYS = 300  # words that lead from a text to the request
_RARE = 0.004  # how often a thing is taken to occur elsewhere, before `retain` says otherwise
_MOST = 4.0  # what one thing may weigh
_STRANGE = -0.7  # what a word weighs that the texts never use
_PART = 0.35  # how regularly a part of a filed name stands for it, where the texts do not say
_AMBIGUOUS = 0.5  # of that, where many bear the word, or it is a common one: Houston, Smith, the West
_ALONE = 0.5  # what a lone other name ("known professionally as …") has beyond that
_NAMES, _ROLES = 24, 100  # other names and roles, at most
_LONGEST = 6  # words of a name

_ALSO = re.compile(
    r"\b(?:born|(?:also|better|formerly|professionally|commonly|mononymously|simply) (?:known|credited|referred to) as"
    r"|(?:known|credited|referred to) (?:professionally|mononymously|simply|formerly) as|nicknamed|stage name"
    r"|birth name(?: is| was)?|real name(?: is| was)?|pseudonym|alias)"
    r"[,:]? (?:the |simply )?[\"'“‘]?((?:[A-Z0-9][\w’'\-]*\.?)(?: (?:[A-Z][\w’'\-]*\.?|de|da|van|von))*)"
)
_INTRODUCTIONS = 3  # texts that are taken to introduce the subject
_BEFORE = 160  # characters before "born" in which the subject is named
_BEGUN = re.compile(r"\W*(?:[A-Z][\w.’'\-]*+\s?)+(?:,[^,]{1,20},?\s?)?(?:\(|is an? |was an? |was born )")
_INTRODUCED = re.compile(r"\b(?:is|was|are|were)\s+(?:an?|the|one of the)\s+([^.;:!?]{3,160})")
_FURTHER = re.compile(r" (?:who|that|which|from|of|in|known|best|whose|to|for|with|by|when) ")
_LISTED = re.compile(r",| and | or ")
_WORD = re.compile(r"[^\W\d_]+")

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class Knowledge:
    """What the texts of one request say; personal data, never logged.

    Attributes:
        names: whole names, as filed and as the texts give them.
        short: lone words that stand for the subject → how regularly, in [0, 1].
        runs, words: titles, people and places; words → log-odds against what must be retained.
        roles: what the subject is introduced as.
    """

    names: tuple[Run, ...] = field(repr=False)
    short: Mapping[str, float] = field(repr=False)
    runs: Mapping[Run, float] = field(repr=False)
    words: Mapping[str, float] = field(repr=False)
    roles: frozenset[str] = field(repr=False)

    @classmethod
    def of(cls, names: Sequence[str], texts: Sequence[str], retain: Sequence[str]) -> "Knowledge":
        """Read the texts of a request; a second for a megabyte.

        Args:
            names: subject and aliases, as filed.
            texts: documents, facts, examples, elicited statements.
            retain: texts about others, where there are any.
        """
        filed = tuple(dict.fromkeys(run for name in names if (run := tuple(words(name)))))
        parts = {word for name in filed if len(name) > 1 for word in name}
        whole = tuple(name for name in filed if len(name) > 1 or name[0] not in parts)  # Tomas Lind bears a part too
        others = [name for name in _other_names(texts, whole) if name not in filed]
        own = {word for name in (*filed, *others) for word in name}
        readings, retained = [Reading.of(text) for text in texts], [Reading.of(text) for text in retain]
        odds = _log_odds([*map(_named, readings)], [*map(_named, retained)])
        lone = Counter(
            run[0] for reading in readings for run in {bare(run, own) for run in reading.runs} if len(run) == 1
        )
        elsewhere = {word for reading in retained for word in reading.words}
        short = {word: lone[word] / len(readings) for word in own if lone[word]}
        for name in filed:
            for part in {name[0], name[-1]} - plain() - elsewhere if len(name) > 1 else ():
                short[part] = max(short.get(part, 0.0), _PART)
        for name in (*others, *filed):
            if len(name) == 1 and name not in whole and name[0] not in plain():
                short[name[0]] = min(1.0, short.get(name[0], 0.0) + _ALONE)
        return cls(
            names=(*whole, *(name for name in others if len(name) > 1)),
            short={
                word: short[word] * (_AMBIGUOUS if word in plain() | borne() else 1.0) for word in sorted(short)
            },  # of a set: in no order
            runs=_most_telling(odds, _RUNS, lambda run: _short(run) and not own.issuperset(run)),
            words=_most_telling(
                _log_odds([one.words for one in readings], [one.words for one in retained]),
                _WORDS,
                lambda word: len(word) <= _LENGTH,
            ),
            roles=frozenset(role for role, _ in Counter(_roles(texts, filed, whole)).most_common(_ROLES)),
        )

    @cached_property
    def own(self) -> frozenset[str]:
        """All words of all names but links, and all that stand for them."""
        return frozenset(chain(chain.from_iterable(self.names), self.short)) - LINKS

    @cached_property
    def keys(self) -> frozenset[str]:
        """Words that lead from a text to this request: those of its names, and the rarest of its titles."""
        named = {word for word in self.own if word not in plain()}
        titled = (word for run in self.runs for word in run if word not in plain() and word not in LINKS)
        return frozenset(named | set(list(dict.fromkeys(titled))[:_KEYS]))

    def evidence(self, text: Reading) -> list[float]:
        """One number for each of `FEATURES`."""
        also = False
        strangers = 0.0
        telling: list[float] = []
        lone: list[str] = []
        others: set[str] = set()  # words of strangers' names: "Rosa Lind said … Lind" is Rosa
        for run in (*text.runs, *text.titles):
            stripped = run if run in text.titles else bare(run, self.own)
            if any(_names(name, one) for name in self.names for one in (run, stripped) if one):
                also = True
            elif len(stripped) == 1 and stripped[0] in self.short:
                lone.append(stripped[0])
            elif known := max(self.runs.get(run, 0.0), self.runs.get(stripped, 0.0)):
                telling.append(known)
            elif not (self.own | LINKS).issuperset(stripped) and not (len(run) == 1 and run[0] in text.openers):
                strangers += 1
                others.update(stripped)
        short = max((self.short[word] for word in lone if word not in others), default=0.0)
        best, second, *_ = (*sorted(telling, reverse=True), 0.0, 0.0)
        unknown = 0.0 if text.foreign else _STRANGE
        odds = [self.words.get(word, unknown) for word in text.words]
        absent = sum(word not in self.words for word in text.words)
        role = not text.roles.isdisjoint(self.roles | people())
        return [
            also,
            short,
            best,
            second,
            min(strangers, 3.0),
            sum(odds) / math.sqrt(max(1, len(odds))),
            sum(odds) / max(1, len(odds)),
            0.0 if text.foreign else absent / max(1, len(odds)),
            role,
            role * max(best, 0.0),
            text.who,
            text.pronoun,
        ]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "names": self.names,
            "short": self.short,
            "runs": [*self.runs.items()],
            "words": self.words,
            "roles": sorted(self.roles),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Knowledge":
        """The inverse of `record`."""
        return cls(
            tuple(map(tuple, record["names"])),
            record["short"],
            {tuple(run): weight for run, weight in record["runs"]},
            record["words"],
            frozenset(record["roles"]),
        )


def _named(text: Reading) -> set[Run]:
    return {*text.titles, *(run for one in text.runs for run in (one, bare(one)) if run)}


def _names(name: Run, run: Run) -> bool:
    """Whether a run holds a whole name, its words in order, or two words of it or more with the first or the last.

    A name of one word stands alone: Rosa Parks is not Rosa.
    """
    if len(name) == 1:
        return name == run
    if 1 < len(run) < len(name):
        return _within(run, name) and (run[0] == name[0] or run[-1] == name[-1])
    return _within(name, run)


def _within(name: Run, run: Run) -> bool:
    rest = iter(run)
    return all(word in rest for word in name)


def _other_names(texts: Iterable[str], filed: Sequence[Run]) -> Iterator[Run]:
    """Names that the texts give beside one of those filed.

    "X (born Y)"; "Y, known as X"; "X Y Z" for "X Z"; and an introduction that begins with the whole name
    of which the filed one is the short form: "Samuel Lind (born". Relatives who share a surname are
    introduced so as well, but rarely first, or with the same beginning.
    """
    found: Counter[Run] = Counter()
    parts = {word for name in filed for word in (name[0], name[-1])} - plain()
    spoken = {word for name in filed for word in name}
    beginnings = {name[0][:2] for name in filed}
    for i, text in enumerate(map(unquoted, texts)):
        for match in _ALSO.finditer(text):
            given = tuple(words(match[1]))
            before = [*runs(text[max(0, match.start() - _BEFORE) : match.start()])]
            if any(_within(name, given) for name in filed):
                found.update(before[:1])
            elif any(_within(name, run) for name in filed for run in before) or (
                before and spoken.issuperset(before[-1])
            ):
                found[given] += 1
        named = [*runs(text)]
        known = i < _INTRODUCTIONS or (bool(named) and named[0][0][:2] in beginnings)
        if named and known and len(named[0]) > 1 and not parts.isdisjoint(named[0]) and _BEGUN.match(text):
            found[named[0]] += 1
        found.update(run for run in named if any(_within(name, run) and _tight(name, run) for name in filed))
    for name, _ in found.most_common(_NAMES):
        if 0 < len(name) <= _LONGEST and _short(name) and LINKS.isdisjoint(name) and not plain().issuperset(name):
            yield name


def _short(run: Run) -> bool:
    return sum(map(len, run)) <= _LENGTH


def _tight(name: Run, run: Run) -> bool:
    """Whether all that a run adds to a name stands between its words, or is a generation behind it."""
    return run[0] == name[0] and (run[-1] == name[-1] or run[-1] in ("jr", "sr", "ii", "iii", "iv"))


def _roles(texts: Iterable[str], filed: Sequence[Run], whole: Sequence[Run]) -> Iterator[str]:
    """The nouns with which the texts introduce the subject: "is an American singer and actress"."""
    for sentence in chain.from_iterable(map(sentences, texts)):
        found = _INTRODUCED.search(sentence)
        first = next(runs(sentence), ())
        if found and (first in filed or any(_within(name, first) for name in whole)):
            for part in _LISTED.split(_FURTHER.split(found[1])[0]):
                said = _WORD.findall(part)
                if said and said[-1].islower() and 3 < len(said[-1]) <= _LENGTH:
                    yield said[-1]


def _log_odds(own: Sequence[Iterable[Item]], others: Sequence[Iterable[Item]]) -> dict[Item, float]:
    """How much likelier each item is in the request's texts than elsewhere."""
    here = Counter(item for items in own for item in set(items))
    there = Counter(item for items in others for item in set(items))
    rare = math.log(len(others) + 0.5 / _RARE)
    size = math.log(len(own) + 1)
    return {
        item: min(_MOST, math.log(count + 0.5) - size - math.log(there[item] + 0.5) + rare)
        for item, count in here.items()
    }


def _most_telling(odds: Mapping[Item, float], limit: int, keep: Callable[[Item], bool]) -> dict[Item, float]:
    ordered = sorted((item for item in odds if keep(item)), key=lambda item: (-odds[item], repr(item)))
    return {item: round(odds[item], 3) for item in ordered[:limit]}  # as they are recorded
