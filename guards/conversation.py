"""Cuts a conversation into windows, each of which knows the turns it covers.

The last user turn and its other readings (`guards.unmask`), the same with its pronouns replaced by
whom they mean (`guards.reference`), the last three turns together, and every other turn: system, tools
and documents are text too. A short turn is one window, and so costs one encoding. A longer one is read
sentence by sentence and in overlapping stretches, so that a question cannot drown in padding and no
sentence is lost at a cut. Lengths are estimates of tokens that never undershoot by much: no tokenizer
is needed here.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from guards.base import DEFINITION, Conversation, Turn
from guards.decode import decoded
from guards.reference import asked, resolved
from guards.unmask import unmasked

WINDOW = 72  # estimated tokens; MiniLM reads 256, but a question drowns in so many
OVERLAP = 24
PLAIN = 40  # estimated tokens up to which a turn is one window
CONTEXT = 3  # turns read together
LIMIT = 64  # windows encoded per conversation: what bounds the cost of a megabyte
_READ = 400  # characters of each turn that are read together with its neighbours
ROOM = 60_000  # characters of a conversation that are cut into windows; of more, both ends and what lies around names
_AROUND = 400  # characters on either side of a name or a question mark that are read where not all is
_SPOTS = 32  # names, and question marks, that are read so
_WHOLE = 4_000  # characters up to which a turn's other readings are made of it whole, beyond it of each window

_SENTENCE_WORDS = 4  # what is shorter is read with the sentence after it

_SENTENCE = re.compile(r"[^.?!\n。？！]*(?:[.?!\n。？！]+|$)")
_PIECE = re.compile(r"[A-Za-z]{1,40}|\d{1,2}|\S")
_LETTERS = re.compile(r"[^\W\d_]+")
_SPOT = re.compile(r"\w{2,}")
_ASKED = re.compile(r"\?(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of text and the indices of the turns it covers, in order."""

    text: str = field(repr=False)
    turns: tuple[int, ...]


def windows(conversation: Conversation, limit: int = LIMIT, words: frozenset[str] = frozenset()) -> tuple[Window, ...]:
    """Windows over a conversation, most telling first, each text once, at most `limit`.

    Where there are more than `limit`, those that hold one of `words` come first, then questions, then
    what says something new, from both ends inwards; repetitions come last. What is left over is not
    read by similarity; names are found there all the same (`guards.lexicon` reads everything).
    """
    found: dict[str, Window] = {}
    for window in _ordered(conversation, limit, words):
        found.setdefault(window.text, window)
        if len(found) == limit:
            break
    if any(len(turn.text) > _WHOLE for turn in conversation.turns):
        read = ((text, window) for window in found.values() for text in unmasked(window.text))
        found = {text: Window(text, window.turns) for text, window in islice(dict.fromkeys(read), limit)}
    return tuple(found.values())


def _ordered(conversation: Conversation, limit: int, words: frozenset[str]) -> Iterator[Window]:
    turns = conversation.turns
    if not turns:
        return
    last = asked(turns)
    now = [Window(piece, (last,)) for piece in _pieces(turns[last].text, words, ROOM)]
    yield from _ranked(now, words)[: limit // 2] if len(now) > limit // 2 else now
    yield from (Window(text, (last,)) for text in resolved(turns))
    context = together(conversation, range(max(0, len(turns) - CONTEXT), len(turns)))
    if context is not None:
        yield context
    others = _others(turns, last, words, ROOM - len(turns[last].text))
    yield from _ranked([*now, *others], words) if words else chain(now, others)


def _others(turns: Sequence[Turn], last: int, words: frozenset[str], room: int) -> Iterator[Window]:
    """Windows of all other turns, the latest first, while there is room."""
    for i in range(len(turns) - 1, -1, -1):
        if i != last:
            yield from (Window(piece, (i,)) for piece in _pieces(turns[i].text, words, max(0, room)))
            room -= len(turns[i].text)


def _ranked(found: Sequence[Window], words: frozenset[str]) -> list[Window]:
    """Named before questions before news before repetitions; within each from both ends inwards."""
    inwards = (i // 2 if i % 2 == 0 else len(found) - 1 - i // 2 for i in range(len(found)))
    ranks: tuple[list[Window], ...] = ([], [], [], [])
    seen = set()
    for window in map(found.__getitem__, inwards):
        spelled = tuple(_LETTERS.findall(window.text.lower()))
        if spelled in seen:
            ranks[3].append(window)
        else:
            seen.add(spelled)
            ranks[0 if not words.isdisjoint(spelled) else 1 if "?" in window.text else 2].append(window)
    ranks[1].sort(key=lambda window: len(window.text))  # a question alone before one in a stretch
    return list(chain(*ranks))


def _pieces(text: str, words: frozenset[str], room: int) -> Iterator[str]:
    """A turn and its other readings, whole where they are short, else by sentence and by stretch."""
    if len(text) <= _WHOLE:
        texts: Iterable[str] = unmasked(text)
    else:
        texts = (text, *(plain for _, plain in decoded(text)))
    for part in chain.from_iterable(_telling(reading, words, room) for reading in texts):
        stretches = [*cut(part, PLAIN)] if len(part) <= _WHOLE else []
        if len(stretches) == 1:
            yield stretches[0]
        else:
            yield from sentences(part)
            yield from cut(part)


def _telling(text: str, words: frozenset[str], room: int) -> Iterator[str]:
    """A text that has room, else both its ends and what lies around names and question marks."""
    if len(text) <= room:
        yield text
        return
    if room:
        yield from (text[: room // 2], text[-room // 2 :])
    named = (match.start() for match in _SPOT.finditer(text) if words and match[0].lower() in words)
    questions = (match.start() for match in _ASKED.finditer(text))
    for at in chain(islice(named, _SPOTS), islice(questions, _SPOTS if room else 0)):
        yield text[max(0, at - _AROUND) : at + _AROUND]


def together(conversation: Conversation, indices: Sequence[int]) -> Window | None:
    """Neighbouring turns as one window, so that "and where was she born?" is read after its subject."""
    texts = [(i, conversation.turns[i].text.strip()) for i in indices]
    covered = [(i, text[-_READ:]) for i, text in texts if text]
    if len(covered) < 2:
        return None
    return Window("\n".join(text for _, text in covered), tuple(i for i, _ in covered))


def cut(text: str, window: int = WINDOW, overlap: int = OVERLAP) -> Iterator[str]:
    """Overlapping stretches of about `window` estimated tokens; a short text whole, an empty one not at all."""
    starts: list[int] = []
    costs: list[int] = []
    total = 0
    for match in _PIECE.finditer(text):
        cost = max(1, math.ceil(len(match[0]) / 5))
        if total + cost > window and starts:
            yield text[starts[0] : match.start()].strip()
            while total > overlap and starts:
                total -= costs.pop(0)
                starts.pop(0)
        starts.append(match.start())
        costs.append(cost)
        total += cost
    if starts:
        yield text[starts[0] :].strip()


def sentences(text: str, window: int = WINDOW) -> Iterator[str]:
    """A text sentence by sentence; very short ones stay with the next, long ones are cut."""
    start = count = 0
    for match in _SENTENCE.finditer(text):
        count += len(match[0].split())
        if count >= _SENTENCE_WORDS:
            yield from cut(text[start : match.end()], window)
            start, count = match.end(), 0
    yield from cut(text[start:], window)


def without(conversation: Conversation, turns: Collection[int]) -> Conversation | None:
    """The conversation without the exchanges that hold one of `turns`; None where what is asked now is one of them.

    An exchange is a user turn with all that follows until the next; what stands before the first is
    taken turn by turn. A definition belongs to the whole conversation.
    """
    exchanges: list[list[int]] = []
    for i, turn in enumerate(conversation.turns):
        if exchanges and turn.role != "user" and any(conversation.turns[j].role == "user" for j in exchanges[-1]):
            exchanges[-1].append(i)
        else:
            exchanges.append([i])
    defined = {i for i, turn in enumerate(conversation.turns) if turn.role == DEFINITION}
    if not exchanges or not turns or (defined | set(exchanges[-1])) & set(turns):
        return None
    kept = [i for exchange in exchanges if not set(exchange) & set(turns) for i in exchange]
    return Conversation(tuple(conversation.turns[i] for i in kept))


def accumulated(scores: Sequence[float], decay: float = 0.7, bias: float = 0.4) -> float:
    """How far an attack that is spread over turns has come: S ← max(0, decay·S + s_t − bias), turn by turn.

    Args:
        scores: one for each user turn, in order, as a request's guard scores them.
        decay: what a turn keeps of the one before; in [0, 1).
        bias: what an innocent turn about something else scores at most.
    """
    total = 0.0
    for score in scores:
        total = max(0.0, decay * total + score - bias)
    return total
