"""Cuts a conversation into windows, each of which knows the turns it covers.

The last user turn, the last three turns together, and the whole, cut. The last user turn is read
sentence by sentence as well, so that a question cannot drown in padding; windows overlap, so that
no sentence is lost at a cut.
Lengths are estimates of tokens that never undershoot by much: no tokenizer is needed here.
"""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from guards.base import Conversation

WINDOW = 72  # estimated tokens; MiniLM reads 256, but a question drowns in so many
OVERLAP = 24
CONTEXT = 3  # turns read together
LIMIT = 64  # windows encoded per conversation: what bounds the cost of a megabyte
_READ = 400  # characters of each turn that are read together with its neighbours

_SENTENCE_WORDS = 4  # what is shorter is read with the sentence after it

_SENTENCE = re.compile(r"[^.?!\n。？！]*(?:[.?!\n。？！]+|$)")
_PIECE = re.compile(r"[A-Za-z]+|\d{1,2}|\S")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of text and the indices of the turns it covers, in order."""

    text: str = field(repr=False)
    turns: tuple[int, ...]


def windows(conversation: Conversation, limit: int = LIMIT, words: frozenset[str] = frozenset()) -> tuple[Window, ...]:
    """Windows over a conversation, most telling first, each text once, at most `limit`.

    Where there are more than `limit`, those that hold one of `words` come first, then head and tail
    of the last user turn, then what lies nearest to the end. What is left over is not read by
    similarity; names are found there all the same (`guards.lexicon` reads everything).
    """
    found: dict[str, Window] = {}
    for window in _ordered(conversation, limit, words):
        found.setdefault(window.text, window)
        if len(found) == limit:
            break
    return tuple(found.values())


def _ordered(conversation: Conversation, limit: int, words: frozenset[str]) -> Iterator[Window]:
    turns = conversation.turns
    if not turns:
        return
    asked = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)
    text = turns[asked].text
    last = [Window(piece, (asked,)) for piece in chain(cut(text), sentences(text))]
    context = together(conversation, range(max(0, len(turns) - CONTEXT), len(turns)))
    others = [i for i in range(len(turns) - 1, -1, -1) if i != asked]
    rest = (Window(text, (i,)) for i in others for text in cut(turns[i].text))
    yield from last[: limit // 4]
    yield from last[-2:]
    if context is not None:
        yield context
    if words:
        everything = [*last, *rest]
        if len(everything) > limit:
            yield from (window for window in everything if not words.isdisjoint(_lowered(window.text)))
        yield from everything
    else:
        yield from last
        yield from rest


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
    waiting = ""
    for sentence in _SENTENCE.findall(text):
        waiting += sentence
        if len(waiting.split()) >= _SENTENCE_WORDS:
            yield from cut(waiting, window)
            waiting = ""
    yield from cut(waiting, window)


def _lowered(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def without(conversation: Conversation, turns: Collection[int]) -> Conversation | None:
    """The conversation without the exchanges that hold one of `turns`; None where what is asked now is one of them.

    An exchange is a user turn with all that follows until the next; what stands before the first is
    taken turn by turn.
    """
    exchanges: list[list[int]] = []
    for i, turn in enumerate(conversation.turns):
        if exchanges and turn.role != "user" and any(conversation.turns[j].role == "user" for j in exchanges[-1]):
            exchanges[-1].append(i)
        else:
            exchanges.append([i])
    if not exchanges or not turns or set(exchanges[-1]) & set(turns):
        return None
    kept = [i for exchange in exchanges if not set(exchange) & set(turns) for i in exchange]
    return Conversation(tuple(conversation.turns[i] for i in kept))
