"""Streams of deltas: text held back until it may be shown, and never taken back. Plain async generators."""

import math
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import numpy as np

from adapters.base import Call, Delta, Plan, Sampling, Say, TokenLogprob, ToolCall, Unlearned, Usage, Wire
from gateway.engines.bodies import forced
from gateway.engines.text import Stops
from gateway.engines.words import usage as estimated
from gateway.engines.words import words
from guards.base import LetheError
from guards.output import NOTHING, UNGUARDED, Asked, Hold, OutputGuard

JUDGED_AT = 160  # characters of an answer from corrupted embeddings before it is judged, or all of a shorter one

SPARE = 8  # alternatives more than a client asked for
READ = 64  # characters in which an alternative is read


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
        if isinstance(plan, Unlearned):
            for event in await _judged(source, plan, n):
                yield event
        async for event in source:
            yield event


async def _judged(source: AsyncIterator[Delta | Usage], plan: Unlearned, n: int) -> list[Delta | Usage]:
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
        if event.finish or len(texts[event.index]) >= JUDGED_AT:
            waiting.discard(event.index)
        if not waiting:
            break
    if any(plan.hopeless(text) for text in texts.values()) or not all(plan.sound(text) for text in texts.values()):
        raise Unsound("the answer is degenerate")
    return held


def for_engine(call: Call) -> Call:
    """The call as an engine gets it: stop strings are looked for in what is shown, or the end of an answer would
    tell what was held when it came, and so such a call is read as it comes; and some alternatives more, for
    those that are not shown."""
    sampling = call.sampling
    more = sampling.logprobs + SPARE if sampling.logprobs else sampling.logprobs
    return replace(call, sampling=replace(sampling, stop=(), logprobs=more), whole=call.whole and not sampling.stop)


async def reviewed(
    events: AsyncIterator[Delta | Usage],
    call: Call,
    output: OutputGuard,
    plan: Plan,
    asked: Asked = NOTHING,
    pieces: Callable[[str], Sequence[str]] = words,
    replaced: Callable[[int], bool] | None = None,
) -> AsyncGenerator[Delta | Usage, None]:
    """The events of `for_engine(call)` with every text held back that may still become something forgotten.

    Every channel of every choice is a stream of its own. A choice ends where one of the call's stop
    strings is shown; when all have ended, the engine's stream is closed, and what it did not count is
    counted by `pieces`, see `Engine.pieces`.

    `replaced` is for `gateway.voiced`: the events of a choice for which it is true are its pace alone, and
    pass unread; those of the others come all, without their text where that is held.

    Raises:
        Stopped: something forgotten was completed; all that came before it was shown, whole sentences alone where
            these are reviewed, and the engine's stream is closed.
    """
    if isinstance(plan, Say) and not forced(call):  # our own words, with the subject as the client named it
        output, asked = UNGUARDED, NOTHING
    choices: dict[int, _Choice] = {}
    written: dict[int, str] = defaultdict(str)
    usage: Usage | None = None
    async with _closing(events) as source:
        async for event in source:
            if isinstance(event, Usage):
                yield _as_sent(event, call)
                continue
            if replaced and replaced(event.index):
                yield event
                continue
            usage = event.usage or usage
            if event.index not in choices:
                choices[event.index] = _Choice(event.index, lambda: _Channel(output, asked, call.sampling))
            choice = choices[event.index]
            if not choice.over:
                written[event.index] += event.text
            shown = await choice.pass_(event)
            for delta in shown:
                yield delta
            if replaced and not (shown or choice.stopped):
                yield replace(event, text="", tokens=(), wire=event.wire and event.wire.changed())
            if choice.stopped:
                raise Stopped("the answer gives away a forgotten target")
            ended = len(choices) >= call.sampling.n and all(one.over for one in choices.values())
            if ended and not all(one.finished for one in choices.values()):
                texts = [one.said if one.ended else written[i] for i, one in choices.items()]
                counted = usage or _counted(call, texts, pieces)
                yield _as_sent(replace(counted, wire=event.wire and event.wire.counted()), call)
                return


def _counted(call: Call, written: Iterable[str], pieces: Callable[[str], Sequence[str]]) -> Usage:
    """What was read and written, where the engine did not come to say it."""
    if call.prompt is None:
        return estimated([turn.text for turn in call.conversation.turns], [*written])
    return Usage(len(call.prompt.token_ids), sum(sum(map(bool, pieces(text))) for text in written))


def _as_sent(usage: Usage, call: Call) -> Usage:
    """The usage of the prompt as the client sent it: an exchange that was left out is counted."""
    if call.sent in (None, usage.prompt_tokens):
        return usage
    return replace(usage, prompt_tokens=call.sent, wire=usage.wire and usage.wire.changed())


class _Choice:
    """One choice: its channels, and whether it is `over` for the client, `finished` for the engine or `stopped`."""

    def __init__(self, index: int, channel: Callable[[], "_Channel"]) -> None:
        self._index = index
        self._channel = channel
        self._channels: dict[str, _Channel] = defaultdict(channel)
        self.over = self.finished = self.stopped = False

    @property
    def ended(self) -> bool:
        """Whether a stop string ended it."""
        return any(channel.ended for channel in self._channels.values())

    @property
    def said(self) -> str:
        """What was shown, with the stop string: what an engine that looks for it would have written."""
        return "".join(channel.said for channel in self._channels.values())

    async def pass_(self, delta: Delta) -> list[Delta]:
        """What may be shown now: the delta itself, where nothing was held or changed."""
        if delta.opening:
            return [delta]
        self.finished = self.finished or delta.finish is not None
        if self.over:
            return []
        if not (delta.text or delta.tokens or delta.tool or delta.finish):
            return [delta] if _stands_alone(delta.wire) else []
        if delta.tool and await self._gives_away(delta.tool.name):
            self.stopped = True
            return []
        shown = [
            replace(one, wire=delta.wire and delta.wire.changed(), usage=delta.usage) for one in await self._read(delta)
        ]
        return [delta] if shown == [delta] else shown

    async def _gives_away(self, name: str) -> bool:
        """Whether a tool's name, which comes whole, says something forgotten."""
        channel = self._channel()
        await channel.feed(Delta(self._index, name.replace("_", " ")))
        await channel.finish(cut=False)
        return channel.stopped

    async def _read(self, delta: Delta) -> list[Delta]:
        shown = self._shown(delta.channel, *await self._channels[delta.channel].feed(delta), delta.tool)
        if delta.finish and not (self.over or self.stopped):
            for name in sorted(self._channels, key=delta.channel.__eq__):  # the one that ends the choice is last
                if not (self.over or self.stopped):
                    tail = await self._channels[name].finish(cut=delta.finish == "length")
                    shown += self._shown(name, *tail)
        if not delta.finish or self.stopped or self.over:
            return shown
        self.over = True
        *shown, last = _joined(shown) or [Delta(self._index, "", channel=delta.channel)]
        return [*shown, replace(last, finish=delta.finish)]

    def _shown(
        self, name: str, text: str, tokens: tuple[TokenLogprob, ...], tool: ToolCall | None = None
    ) -> list[Delta]:
        channel = self._channels[name]
        self.over, self.stopped = channel.ended, channel.stopped and not channel.ended
        if not (text or tokens or tool or self.over):
            return []
        return [Delta(self._index, text, tokens, "stop" if self.over else None, name, tool)]


def _stands_alone(wire: Wire | None) -> bool:
    """Whether a token without text has an event of its own there."""
    return wire is None or bool(wire.raw) or wire.ending is None or wire.ending.silent


def _joined(shown: list[Delta]) -> list[Delta]:
    """Two parts of one text are one."""
    if len(shown) == 2 and shown[0].channel == shown[1].channel and not shown[1].finish:
        first, second = shown
        return [replace(first, text=first.text + second.text, tokens=first.tokens + second.tokens)]
    return shown


class _Channel:
    """One text on its way to the client, its tokens' log-probabilities in step.

    Held exactly, then reviewed by sentences where the prompt nearly touched something, then ended at the
    first stop string.
    """

    def __init__(self, output: OutputGuard, asked: Asked, sampling: Sampling) -> None:
        self._hold = output.stream(asked)
        self._review = output.review(asked)
        self._strings = sampling.stop
        self._stops = Stops(sampling.stop)
        self._alternatives = sampling.logprobs or 0
        self._tokens: deque[TokenLogprob] = deque()
        self._before = asked.tail[-READ:]  # the end of the text that the tokens had come to
        self._ahead = 0  # characters released that no released token has accounted for
        self.ended = False  # by a stop string of the client's
        self.said = ""  # what may be shown, and the stop string

    @property
    def stopped(self) -> bool:
        """Whether something forgotten came."""
        return self._hold.stopped or (self._review is not None and self._review.stopped)

    async def feed(self, delta: Delta) -> tuple[str, tuple[TokenLogprob, ...]]:
        """What may be shown now."""
        self._tokens += [self._sifted(token) for token in delta.tokens]
        text = self._hold.feed(delta.text)
        if self._review is not None:
            text = await self._review.feed(text)  # of a stopped sentence nothing is shown: it would break off
        text = self._until_stop(text, last=self.stopped)
        return text, self._released(len(text), False)

    async def finish(self, cut: bool) -> tuple[str, tuple[TokenLogprob, ...]]:
        """What was held; see `Hold.finish`."""
        held = self._hold.held
        text = self._hold.finish(cut)
        whole = len(text) == held
        if self._review is not None:
            text = await self._review.feed(text) + ("" if self._hold.stopped else await self._review.finish())
        text = self._until_stop(text, last=True)
        return text, self._released(len(text), whole and not (self.ended or self.stopped))

    def _until_stop(self, text: str, last: bool) -> str:
        whole = self._stops.rest() + text
        out, self.ended = self._stops.push(text)
        if self.ended:
            self.said += out + min((stop for stop in self._strings if whole.startswith(stop, len(out))), key=len)
            return out
        self.said += out
        return out + self._stops.rest() if last else out

    def _sifted(self, token: TokenLogprob) -> TokenLogprob:
        before = self._before
        self._before = (before + token.text)[-READ:]
        return sifted(token, before, self._hold, self._alternatives)

    def _released(self, chars: int, all_: bool) -> tuple[TokenLogprob, ...]:
        self._ahead += chars
        out = []
        while self._tokens and (all_ or len(self._tokens[0].text) <= self._ahead):
            token = self._tokens.popleft()
            self._ahead -= len(token.text)
            out.append(token)
        return tuple(out)


def sifted(token: TokenLogprob, before: str, hold: Hold, count: int) -> TokenLogprob:
    """A token after `before`, with at most `count` of its alternatives.

    One that would give something away is left out and its probability with it: the others are given as they would
    be if it could not be said. The engine is asked for `SPARE` more, so that their number does not tell.
    """
    telling = {text for text, _ in token.top if text != token.text and text.strip() and hold.tells(before, text)}
    if not telling:
        return replace(token, top=token.top[:count])
    left = 1 - sum(math.exp(logprob) for text, logprob in token.top if text in telling)
    off = math.log(max(left, math.exp(token.logprob)))
    top = [(text, single(logprob - off)) for text, logprob in token.top if text not in telling]
    return TokenLogprob(token.text, single(token.logprob - off), tuple(top[:count]))


def single(number: float) -> float:
    """A number as an engine gives it, in single precision: the digits of a double would tell that it was computed."""
    return float(np.float32(number))


def _closing(events: AsyncIterator[Delta | Usage]) -> aclosing[Any]:
    """Closes the engine's generator however the block is left: a client that goes away cancels the engine."""
    return aclosing(cast("AsyncGenerator[Delta | Usage, None]", events))
