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
from dataclasses import dataclass, field

from guards.base import Conversation, Verdict
from guards.lexicon import LexiconView
from guards.names import NameWatch
from guards.review import Review, Reviewer
from guards.slots import FactView, FactWatch
from guards.text import fold, trace
from guards.verbatim import PassageView, PassageWatch
from guards.watch import Chunk, Splitter, Watch, split

_TELLING = 4  # characters of something forgotten that are no longer anybody's
_CONTEXT = 3  # turns in which a subject stands in the window
_READ = 4_000  # characters of each of them
_ASKED = 400  # characters of what came near that an answer is read after
_TAIL = 1_000  # characters of a text that is continued
_WORD = re.compile(r"[^ ]+| ")


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
            named, words = self._facts.named(asked.context), frozenset(split(fold(asked.question[-_READ:])))
            watches.append(FactWatch(self._facts, asked.touched | asked.near.keys(), words, named))
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
        text = await review.feed(text) + await review.finish()
        return text, hold.stopped or review.stopped


UNGUARDED = OutputGuard(LexiconView((), frozenset()))


class Hold:
    """One stream. `stopped` says whether something forgotten came; `request` whose it was."""

    def __init__(self, watches: Sequence[Watch], tail: str = "") -> None:
        self._watches = watches
        self._splitter = Splitter()
        self._spaced = False  # the last folded character is a space
        self._raw = ""  # text not yet released
        self._at: list[int] = []  # for each folded character that came, from `_from` on, its place in `_raw`
        self.request: str | None = None
        for word in _WORD.findall(fold(tail)) if watches else ():
            chunk = self._folded(word)
            for watch in watches:  # what the client wrote is not found, but may go on here
                watch.read(chunk)
        self._from = self._splitter.at

    @property
    def stopped(self) -> bool:
        return self.request is not None

    @property
    def held(self) -> int:
        """Characters that have come and not left."""
        return len(self._raw)

    def feed(self, text: str) -> str:
        """What may leave after `text` came; nothing once stopped."""
        if self.stopped or not self._watches:
            return "" if self.stopped else text
        folded, origin = _traced(text)
        if self._spaced and folded[:1] == " ":
            folded, origin = folded[1:], origin[1:]
        came = len(self._raw)
        self._raw += text
        self._at += [came + i for i in origin] if came else origin
        return self._release(self._folded(folded))

    def finish(self, cut: bool = False) -> str:
        """What was held, now that nothing follows; empty when the end makes it something forgotten.

        `cut` says that a limit ended the text, not the model: what may be the beginning of something
        forgotten is then kept back too, where it is long enough to tell whose.
        """
        if self.stopped or not self._watches:
            return ""
        begun = len(self._raw.strip()) >= _TELLING
        tail = self._release(self._splitter.push("", last=True))
        return "" if cut and begun else tail

    def tells(self, before: str, text: str) -> bool:
        """Whether `text`, said after `before`, would give something away: for alternatives to what was said."""
        return any(watch.tells(before, text) for watch in self._watches)

    def _folded(self, text: str) -> Chunk:
        self._spaced = text[-1:] == " " if text else self._spaced
        return self._splitter.push(text)

    def _release(self, chunk: Chunk) -> str:
        found = min((found for watch in self._watches if (found := watch.read(chunk))), default=None)
        if found is not None:
            self.request = found.request
            out, self._raw = self._raw[: self._place(found.start)], ""
            return out
        safe = chunk.stop if chunk.last else min(watch.safe for watch in self._watches)
        place = self._place(safe)
        out, self._raw = self._raw[:place], self._raw[place:]
        left = self._at[max(safe - self._from, 0) :]
        self._at = [at - place for at in left] if place else left
        self._from = max(safe, self._from)
        return out

    def _place(self, offset: int) -> int:
        """Where in the text that is held a folded character stands; what comes next stands at its end."""
        i = max(offset - self._from, 0)
        return self._at[i] if i < len(self._at) else len(self._raw)


def _traced(text: str) -> tuple[str, Sequence[int]]:
    """`trace`, without its walk where every character is one of its own."""
    folded = fold(text)
    if text.isascii() and len(folded) == len(text):
        return folded, range(len(text))
    return trace(text)
