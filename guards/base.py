"""What a guard is, what it says, and the one runner that fails closed.

A guard reads a conversation and names the forget requests it touches. The runner asks every guard
under one deadline. A guard that raises, hangs or returns junk means *touched*: the failure becomes
part of the verdict, and is counted by name, never with text.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Protocol

DEFINITION = "definition"  # the role of what a model reads beside the messages: tools, schemas, the template's own


class LetheError(Exception):
    """The root of the one error tree. Messages never carry prompt text or a subject."""


class GuardError(LetheError):
    """A guard could not decide."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. `role` is the client's word for the speaker; `text` is what the model will read.

    `message` is the same as the client wrote it, where it says more than these two: tool calls, a
    tool's id. All that the model reads of it is in `text` too.
    """

    role: str
    text: str = field(repr=False)
    message: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def content(self) -> str:
        """The message's content, which is all of `text` where the message says no more."""
        return self.text if self.message is None else self.message.get("content") or ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything the model will read, in order. The last turn is what it is asked to answer.

    Turns of the role `DEFINITION` are read by the guards and belong to no message.
    """

    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, *texts: str) -> "Conversation":
        """Texts taken in turn from user and assistant, the first from the user."""
        return cls(tuple(Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)))


@dataclass(frozen=True, slots=True)
class Hit:
    """One forget request that the conversation touches, or nearly does, and why.

    Below its threshold a hit is only *near*: nothing is changed, but the answer is read against that
    request before it leaves. `turns` are the indices of the turns that carry it. `surface` holds the
    words with which the client named the subject, where a guard saw any: the ignorance voice repeats
    them; nothing logs them. `window` is the stretch of text that came so far, where a guard read any:
    what an answer is read after.
    """

    request: str
    score: float
    threshold: float
    guard: str
    turns: tuple[int, ...]
    surface: str | None = field(default=None, repr=False)
    window: str | None = field(default=None, repr=False)

    @property
    def reached(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guards found. `failures` are the names of the guards that could not decide.

    `near` are the requests that were nearly touched, none of them among the hits.
    """

    hits: tuple[Hit, ...] = ()
    failures: tuple[str, ...] = ()
    near: tuple[Hit, ...] = ()

    @property
    def touched(self) -> bool:
        """True when a target was found, or when a guard failed to say that none was."""
        return bool(self.hits or self.failures)

    @property
    def turns(self) -> frozenset[int]:
        """The indices of all turns that carry a hit."""
        return frozenset(turn for hit in self.hits for turn in hit.turns)


class Guard(Protocol):
    """Decides. One async method; `name` is the label under which it is counted."""

    @property
    def name(self) -> str: ...

    async def judge(self, conversation: Conversation) -> Sequence[Hit]:
        """The requests touched or nearly touched, each at most once; empty when none is."""
        ...


class Runner:
    """Asks all guards at once and fails closed.

    Args:
        guards: asked concurrently, each for the whole conversation.
        deadline: seconds that all of them have together.
        failed: called with a guard's name and the kind of failure
            (`"error"`, `"deadline"`, `"junk"`), so that it is counted.
    """

    def __init__(
        self,
        guards: Sequence[Guard],
        deadline: float,
        failed: Callable[[str, str], None] = lambda guard, kind: None,
    ) -> None:
        self._guards = tuple(guards)
        self._deadline = deadline
        self._failed = failed

    async def classify(self, conversation: Conversation) -> Verdict:
        """One verdict for one conversation; never raises, never outlasts the deadline."""
        answers = await asyncio.gather(*(self._ask(guard, conversation) for guard in self._guards))
        hits: dict[str, Hit] = {}
        failures = []
        for guard, found in zip(self._guards, answers, strict=True):
            if found is None:
                failures.append(guard.name)
                continue
            for hit in found:
                hits[hit.request] = _stronger(hits.get(hit.request), hit)
        touched = tuple(hit for hit in hits.values() if hit.reached)
        near = tuple(hit for hit in hits.values() if not hit.reached)
        return Verdict(touched, tuple(failures), near)

    async def _ask(self, guard: Guard, conversation: Conversation) -> Sequence[Hit] | None:
        try:
            async with asyncio.timeout(self._deadline):
                found = await guard.judge(conversation)
        except TimeoutError:
            kind = "deadline"
        except Exception:  # whatever a guard raises means touched; the name is counted, the text never shown
            kind = "error"
        else:
            if sane(found, len(conversation.turns)):
                return found
            kind = "junk"
        self._failed(guard.name, kind)
        return None


def _stronger(old: Hit | None, new: Hit) -> Hit:
    """Both hits as one: the turns of either, the surface of whichever saw one, the wider margin's score."""
    if old is None or old.reached < new.reached:  # what is only near adds no turns to what is touched
        return new
    if old.reached > new.reached:
        return old
    best = max(old, new, key=lambda hit: hit.score - hit.threshold)
    turns = tuple(sorted({*old.turns, *new.turns}))
    surface, window = old.surface or new.surface, best.window
    return Hit(best.request, best.score, best.threshold, best.guard, turns, surface, window)


def sane(found: object, turns: int) -> bool:
    """Types are looked at too: nothing that a guard returns may make the runner itself raise."""
    return isinstance(found, list | tuple) and all(
        isinstance(hit, Hit)
        and isinstance(hit.request, str)
        and isinstance(hit.surface, str | None)
        and isinstance(hit.window, str | None)
        and all(isinstance(number, Real) and math.isfinite(number) for number in (hit.score, hit.threshold))
        and isinstance(hit.turns, tuple)
        and bool(hit.turns)
        and all(isinstance(turn, int) and 0 <= turn < turns for turn in hit.turns)
        for hit in found
    )
