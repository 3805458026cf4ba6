"""What may leave in a stream: held back while it may still become something forgotten, otherwise at once.

Step 6 of the architecture. The answer is folded as it comes and read by three watches: strong aliases
(`guards.names`), forgotten texts (`guards.verbatim`), listed facts (`guards.slots`). Each says up to
where the text may leave; on a find the stream stops before it. What is released does not depend on how
the text was cut into chunks, and what was released is never taken back. What only resembles is left to
`guards.review`, for the requests that the prompt nearly touched.

Where the answer continues a text (a raw prompt, an assistant's prefix), reading begins with that text's
end: a name begun there is stopped here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from guards import escapes
from guards.base import Conversation, Verdict
from guards.lexicon import LexiconView
from guards.names import NameWatch
from guards.review import Review, Reviewer
from guards.slots import FactView, FactWatch, granted
from guards.text import fold, trace
from guards.verbatim import PassageView, PassageWatch
from guards.watch import Found, Splitter, Watch, split

_TELLING = 4  # characters of something forgotten that are no longer anybody's
_CONTEXT = 3  # turns in which a subject stands in the window
_READ = 4_000  # characters of each of them
_ASKED = 400  # characters of what came near that an answer is read after
_TAIL = 1_000  # characters of a text that is continued
_WORD = re.compile(r"[^\W_]+|[\W_]")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is read against beside its own words.

    `question` is what was asked last, `context` the turns before with it, `touched` the requests that
    the input guards named, `near` those that they nearly did, each with the text that came near, and
    `tail` the end of a text that the answer continues.
    """

    question: str = field(default="", repr=False)
    context: str = field(default="", repr=False)
    touched: frozenset[str] = frozenset()
    near: Mapping[str, str] = field(default_factory=dict, repr=False)
    tail: str = field(default="", repr=False)

    @classmethod
    def of(cls, conversation: Conversation, verdict: Verdict, raw: bool = False) -> "Asked":
        """`raw`: the single turn is the text that the answer continues."""
        turns = conversation.turns
        question = next((turn.text for turn in reversed(turns) if turn.role == "user"), "")
        continued = bool(turns) and (raw or turns[-1].role == "assistant")
        return cls(
            question=question,
            context="\n".join(turn.text[-_READ:] for turn in turns[-_CONTEXT:]),
            touched=frozenset(hit.request for hit in verdict.hits),
            near={hit.request: _ends(hit.window or question) for hit in verdict.near},
            tail=turns[-1].text[-_TAIL:] if continued else "",
        )


def _ends(text: str) -> str:
    """The beginning and the end of a text, so that an answer stands in the encoder's window with it."""
    return text if len(text) <= _ASKED else f"{text[: _ASKED // 2]} … {text[-_ASKED // 2 :]}"


NOTHING = Asked()


class OutputGuard:
    """What may leave: everything but what is forgotten by the requests of a policy.

    Args:
        names, passages, facts: what exact watches look for.
        reviewer: hears the sentences of answers to prompts that nearly touched; None for nobody.
        deadline, failed: see `guards.review.Review`.
    """

    def __init__(
        self,
        names: LexiconView,
        passages: PassageView | None = None,
        facts: FactView | None = None,
        reviewer: Reviewer | None = None,
        deadline: float = 1.0,
        failed: Callable[[str, str], None] = lambda guard, kind: None,
    ) -> None:
        self._names = names
        self._passages = passages or PassageView()
        self._facts = facts or FactView()
        self._reviewer = reviewer
        self._deadline = deadline
        self._failed = failed

    def stream(self, asked: Asked = NOTHING) -> "Hold":
        """A fresh hold for one stream: one channel of one choice."""
        watches: list[Watch] = []
        if self._names.automata:
            watches.append(NameWatch(self._names))
        if self._passages.segments:
            watches.append(PassageWatch(self._passages))
        if self._facts.segments:
            read = asked.question[-_READ:]
            named, words = self._facts.named(asked.context), frozenset(split(fold(read)))
            told = granted(read) if named else frozenset[str]()
            watches.append(FactWatch(self._facts, asked.touched | asked.near.keys(), words, named, told))
        return Hold(watches, asked.tail)

    def review(self, asked: Asked) -> Review | None:
        """The second look at such a stream; None where nothing was nearly touched, or nobody looks."""
        if self._reviewer is None or not asked.near:
            return None
        return Review(self._reviewer, asked.near, self._deadline, self._failed)

    async def read(self, answer: str, asked: Asked = NOTHING) -> tuple[str, bool]:
        """What would leave of a whole answer, and whether it would be stopped."""
        hold, review = self.stream(asked), self.review(asked)
        text = hold.feed(answer) + hold.finish()
        if review is None:
            return text, hold.stopped
        text = await review.feed(text) + ("" if hold.stopped else await review.finish())
        return text, hold.stopped or review.stopped


UNGUARDED = OutputGuard(LexiconView((), frozenset()))


class Hold:
    """One stream. `stopped` says whether something forgotten came; `request` whose it was.

    From its first backslash on a stream has two readings, as it stands and with its escapes undone
    (`guards.escapes`): what neither holds may leave. An escape is read once it is whole.
    """

    def __init__(self, watches: Sequence[Watch], tail: str = "") -> None:
        self._plain = _Reading(watches)
        self._unescaped: _Reading | None = None
        self._open = ""  # an escape that has begun
        self._raw = ""  # text not yet released
        self._left = 0  # characters released
        self._read = -len(tail)  # characters read, from the beginning of what is continued
        self.request: str | None = None
        if watches and tail:
            whole, self._open = escapes.whole(tail)
            for part in escapes.parts(whole):
                for word in [part] if part[0] == "\\" else _WORD.findall(part):
                    self._take(word)  # what the client wrote is not found, but may go on here

    @property
    def stopped(self) -> bool:
        return self.request is not None

    @property
    def held(self) -> int:
        """Characters that have come and not left."""
        return len(self._raw)

    def feed(self, text: str) -> str:
        """What may leave after `text` came; nothing once stopped."""
        if self.stopped or not self._plain.watches:
            return "" if self.stopped else text
        self._raw += text
        if not self._open and "\\" not in text:
            return self._release(self._take(text))
        whole, self._open = escapes.whole(self._open + text)
        return self._release(self._first(whole))

    def finish(self, cut: bool = False) -> str:
        """What was held, now that nothing follows; empty when the end makes it something forgotten.

        `cut` says that a limit ended the text, not the model: what may be the beginning of something
        forgotten is then kept back too, where it is long enough to tell whose.
        """
        if self.stopped or not self._plain.watches:
            return ""
        begun = len(self._raw.strip()) >= _TELLING
        tail = self._release(self._first(self._open) or self._take("", last=True))
        return "" if cut and begun else tail

    def tells(self, before: str, text: str) -> bool:
        """Whether `text`, said after `before`, would give something away: for alternatives to what was said."""
        said = [(before, text)]
        if "\\" in before + text:
            whole, begun = escapes.whole(before)
            said.append((escapes.undone(whole), escapes.undone(begun + text)))
        return any(watch.tells(*one) for watch in self._plain.watches for one in said)

    def _first(self, text: str) -> Found | None:
        """What is found first, escape by escape: so in which of two readings does not depend on the chunks."""
        return next(filter(None, map(self._take, escapes.parts(text))), None)

    def _take(self, part: str, last: bool = False) -> Found | None:
        """What is found by one escape more, or by text without any."""
        start, stop = self._read, self._read + len(part)
        self._read = stop
        escape = part[:1] == "\\"
        if escape and self._unescaped is None:
            self._unescaped = self._plain.fork()
        folded, origin = _traced(part, start)
        plain = self._plain.take(folded, origin, stop, last)
        if self._unescaped is None:
            return plain
        if escape:
            folded = fold(escapes.undone(part))
            origin = [start] * len(folded)
        other = self._unescaped.take(folded, origin, stop, last)
        return min(filter(None, (plain, other)), default=None)

    def _release(self, found: Found | None) -> str:
        if found is not None:
            self.request, place = found.request, found.start
        else:
            place = min(one.safe for one in (self._plain, self._unescaped) if one is not None)
        place = max(place - self._left, 0)
        out, self._raw = self._raw[:place], "" if found else self._raw[place:]
        self._left += place
        return out


class _Reading:
    """What the watches make of a stream, in offsets of the text as it came."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.watches = watches
        self.safe = 0  # what lies before may leave
        self._splitter = Splitter()
        self._spaced = False  # the last folded character is a space
        self._at: list[int] = []  # for each folded character, from `_from` on, its place in the text
        self._from = 0
        self._stop = 0  # the end of the text

    def fork(self) -> "_Reading":
        other = copy(self)
        other.watches = [watch.fork() for watch in self.watches]
        other._splitter, other._at = copy(self._splitter), [*self._at]
        return other

    def take(self, folded: str, origin: Sequence[int], stop: int, last: bool) -> Found | None:
        """What is found by these characters more; they came from `origin`, and the text now ends at `stop`."""
        if self._spaced and folded[:1] == " ":
            folded, origin = folded[1:], origin[1:]
        self._spaced = folded[-1:] == " " if folded else self._spaced
        self._at += origin
        self._stop = stop
        chunk = self._splitter.push(folded, last)
        found = min((found for watch in self.watches if (found := watch.read(chunk))), default=None)
        if found is not None:
            return Found(self._place(found.at), self._place(found.start), found.request)
        safe = chunk.stop if chunk.last else min(watch.safe for watch in self.watches)
        self.safe = self._place(safe)
        del self._at[: max(safe - self._from, 0)]
        self._from = max(safe, self._from)
        return None

    def _place(self, offset: int) -> int:
        """Where in the text a folded character stands; what comes next stands at its end."""
        i = max(offset - self._from, 0)
        return self._at[i] if i < len(self._at) else self._stop


def _traced(text: str, start: int) -> tuple[str, Sequence[int]]:
    """`trace` of a text that begins at `start`, without its walk where every character is one of its own."""
    folded = fold(text)
    if text.isascii() and len(folded) == len(text):
        return folded, range(start, start + len(text))
    folded, origin = trace(text)
    return folded, [start + i for i in origin] if start else origin
