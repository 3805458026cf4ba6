"""Streams of deltas: text held back until it may be shown, and never taken back. Plain async generators."""

from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from adapters.base import Call, Delta, Embeds, Plan, Say, TokenLogprob, Usage
from guards.base import LetheError
from guards.output import Hold, OutputGuard

_JUDGED_AT = 160  # characters of an answer from corrupted embeddings before it is judged, or all of a shorter one


class Unsound(LetheError):
    """The plan's answer cannot be shown; nothing of it was."""


class Stopped(LetheError):
    """The output guard found a forgotten target in the answer; the rest was not shown."""


async def sounded(events: AsyncIterator[Delta | Usage], plan: Plan, n: int) -> AsyncGenerator[Delta | Usage, None]:
    """The events, once each of the `n` choices has proved sound.

    Raises:
        Unsound: before the first event.
    """
    async with _closing(events) as source:
        if isinstance(plan, Embeds):
            for event in await _judged(source, plan, n):
                yield event
        async for event in source:
            yield event


async def _judged(source: AsyncIterator[Delta | Usage], plan: Embeds, n: int) -> list[Delta | Usage]:
    """The first events of an answer, as many as it takes to judge every choice."""
    held: list[Delta | Usage] = []
    texts = dict.fromkeys(range(n), "")
    waiting = set(texts)
    async for event in source:
        held.append(event)
        if isinstance(event, Usage):
            break
        texts[event.index] += event.text
        if plan.hopeless(texts[event.index]):
            break
        if event.finish or len(texts[event.index]) >= _JUDGED_AT:
            waiting.discard(event.index)
        if not waiting:
            break
    if any(plan.hopeless(text) for text in texts.values()) or not all(plan.sound(text) for text in texts.values()):
        raise Unsound("the answer is degenerate")
    return held


async def reviewed(
    events: AsyncIterator[Delta | Usage], call: Call, output: OutputGuard, plan: Plan
) -> AsyncGenerator[Delta | Usage, None]:
    """The events with every text that may still become a forgotten target held back.

    Raises:
        Stopped: a target was completed; all that came before it was shown, and the engine's stream is closed.
    """
    async with _closing(events) as source:
        if isinstance(plan, Say):  # our own words, with the subject as the client named it
            async for event in source:
                yield event
            return
        gates: dict[int, _Gate] = defaultdict(lambda: _Gate(output.stream(), bool(call.sampling.stop)))
        async for event in source:
            if isinstance(event, Usage):
                yield event
                continue
            gate = gates[event.index]
            if (released := gate.pass_(event)) is not None:
                yield released
            if gate.stopped:
                raise Stopped("the answer names a forgotten target")


class _Gate:
    """One choice's text on its way to the client, its tokens' log-probabilities in step."""

    def __init__(self, hold: Hold, stops: bool) -> None:
        self._hold = hold
        self._stops = stops  # the client names strings that end the answer: an end may be a cut
        self._tokens: deque[TokenLogprob] = deque()
        self._ahead = 0  # characters released that no released token has accounted for

    @property
    def stopped(self) -> bool:
        return self._hold.stopped

    def pass_(self, delta: Delta) -> Delta | None:
        """What may be shown now; None when it is nothing."""
        self._tokens.extend(delta.tokens)
        text, whole = self._hold.feed(delta.text), False
        if delta.finish and not self.stopped:
            held = self._hold.held
            tail = self._hold.finish(cut=self._stops or delta.finish == "length")
            text, whole = text + tail, len(tail) == held
        finish = None if self.stopped else delta.finish
        if not text and not finish:
            return None
        return Delta(delta.index, text, self._released(len(text), bool(finish) and whole), finish)

    def _released(self, chars: int, all_: bool) -> tuple[TokenLogprob, ...]:
        self._ahead += chars
        out = []
        while self._tokens and (all_ or len(self._tokens[0].text) <= self._ahead):
            token = self._tokens.popleft()
            self._ahead -= len(token.text)
            out.append(token)
        return tuple(out)


def _closing(events: AsyncIterator[Delta | Usage]) -> aclosing[Any]:
    """Closes the engine's generator however the block is left: a client that goes away cancels the engine."""
    return aclosing(cast("AsyncGenerator[Delta | Usage, None]", events))
