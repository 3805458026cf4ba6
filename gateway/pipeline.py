"""One request, as one function: `answer` is the map.

Before it: `gateway.params` read a call out of the request. After it: `gateway.api` frames the events
as the endpoint promises.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from adapters.base import Call, Delta, Engine, EngineError, EngineTimeout, Plan, Say, Unlearned, Usage
from adapters.router import Router
from gateway.engines.bodies import forced, plain
from gateway.params import restricted
from gateway.policy import Policy
from gateway.stream import Stopped, Unsound, for_engine, reviewed, sounded
from gateway.telemetry import Meter
from gateway.voiced import Voiced
from guards.base import DEFINITION, Verdict
from guards.conversation import without
from guards.output import Asked, OutputGuard


async def answer(
    call: Call, policy: Policy, router: Router, engine: Engine, meter: Meter
) -> AsyncGenerator[Delta | Usage, None]:
    """What the client gets for this call under this policy, as it comes.

    Raises:
        EngineError: before the first event, or in mid-stream when the engine fails there.
    """
    with meter.or_refused(), meter.classifying():
        call, verdict = await classified(call, policy, engine)
    meter.decided(verdict)
    if verdict.touched:
        read = call.read.turns
        if verdict.failures or any(read[turn].role == DEFINITION for turn in verdict.turns):
            call = plain(call)  # a tool or a schema that asks would ask again, whatever answers

    asked = Asked.of(call.conversation, verdict, call.raw)
    plans = await router.plans(call, verdict, policy.enforced, engine.capabilities)
    if verdict.touched and restricted(call):
        plans = plans[-1:]  # a corrupted prompt may still know which of two words is the likelier
    reads = not verdict.touched and policy.output.review(asked) is not None
    done = _Progress(engine)
    await asyncio.sleep(_dithered(router.ahead(plans[0], policy.methods, engine.lag)))  # or the clock would tell
    try:
        async with aclosing(_first_that_holds(plans, call, asked, engine, policy.output, meter)) as events:
            async for event in events:
                yield done.saw(event)
    except Stopped:
        meter.stopped()
        if reads:
            meter.reviewed(stopped=True)
        plan, call = await router.last_resort(call, verdict.hits), done.left(plain(call))
        async with aclosing(
            reviewed(engine.generate(for_engine(call), plan), call, policy.output, plan, pieces=engine.pieces)
        ) as closing:
            async for event in closing:
                if (rest := done.rest(event)) is not None:
                    yield rest
    else:
        if reads:
            meter.reviewed(stopped=False)


async def classified(call: Call, policy: Policy, engine: Engine) -> tuple[Call, Verdict]:
    """The call as it is answered, with the prompt that the engine will read, and the verdict on that.

    Earlier exchanges that are touched are left out, for they must not block the rest of a session, nor
    lend their names to its answers; what is left is classified again.

    Raises:
        EngineError: there is no such prompt.
    """
    call = await engine.rendered(call)
    verdict = await policy.guards.classify(call.read)
    asked = max((i for i, turn in enumerate(call.conversation.turns) if turn.role == "user"), default=0)
    rest = without(call.conversation, [turn for turn in verdict.turns if turn < asked])
    if verdict.failures or rest is None:
        return call, verdict
    sent = len(call.prompt.token_ids) if call.prompt else None
    call = await engine.rendered(replace(call, conversation=rest, prompt=None, sent=sent))
    return call, await policy.guards.classify(call.read)


async def _first_that_holds(
    plans: tuple[Plan, ...], call: Call, asked: Asked, engine: Engine, output: OutputGuard, meter: Meter
) -> AsyncGenerator[Delta | Usage, None]:
    """The answer under the first plan that the engine honours and whose text can be shown."""
    for plan in plans[:-1]:
        shown = False
        generated = engine.generate(for_engine(call), plan)
        voiced = _voiced(plan, plans[-1], call, engine)
        if voiced:  # stop strings are looked for in what is shown
            unstopped = replace(call, sampling=replace(call.sampling, stop=()))
            own = reviewed(voiced.heard(generated), unstopped, output, plan, asked, engine.pieces, voiced.reciting)
            shows = reviewed(voiced.over(own), call, output, plans[-1], pieces=engine.pieces)
        else:
            shows = reviewed(sounded(generated, plan, call.sampling.n), call, output, plan, asked, engine.pieces)
        try:
            async with aclosing(shows) as events:
                async for event in events:
                    shown = True
                    yield event
        except Unsound:  # raised before anything was shown
            meter.fell_back(plan.method, "unsound")
        except EngineError as error:
            if shown or isinstance(error, EngineTimeout):  # to wait twice as long as others do would tell
                raise
            meter.fell_back(plan.method, type(error).__name__)
        else:
            if voiced and voiced.replaced:
                meter.fell_back(plan.method, "unsound")
            meter.answered(plans[-1].method if voiced and voiced.replaced else plan.method)
            return
    meter.answered(plans[-1].method)
    said = engine.generate(for_engine(call), plans[-1])
    async with aclosing(reviewed(said, call, output, plans[-1], asked, engine.pieces)) as events:
        async for event in events:
            yield event


def _dithered(seconds: float) -> float:
    """Whole milliseconds, as timers have them, that are so many seconds in the mean."""
    return (int(seconds * 1e3) + (random.random() < seconds * 1e3 % 1)) / 1e3


def _voiced(plan: Plan, last: Plan, call: Call, engine: Engine) -> Voiced | None:
    """For an answer that may turn out as ignorance in words; log-probabilities are of one answer, or of another."""
    free = call.sampling.logprobs is None and not forced(call)
    if isinstance(plan, Unlearned) and isinstance(last, Say) and free:
        return Voiced(plan, engine.pieces(last.text), call)
    return None


class _Progress:
    """What the client already has of each choice, so that a stopped answer ends in one piece."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._opened: set[int] = set()
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._texts: dict[int, str] = {}

    def saw(self, event: Delta | Usage) -> Delta | Usage:
        if isinstance(event, Delta):
            if event.opening:
                self._opened.add(event.index)
            if event.text and event.channel == "content":
                self._begun.add(event.index)
            if event.finish:
                self._finished.add(event.index)
            self._texts[event.index] = self._texts.get(event.index, "") + event.text
        return event

    def left(self, call: Call) -> Call:
        """The call with the tokens that a choice may still have."""
        most = call.sampling.max_tokens
        if most is None:
            return call
        left = max(1, most - max((self._tokens(text) for text in self._texts.values()), default=0))
        return replace(call, sampling=replace(call.sampling, max_tokens=left))

    def _tokens(self, text: str) -> int:
        return sum(map(bool, self._engine.pieces(text)))

    def rest(self, event: Delta | Usage) -> Delta | Usage | None:
        """An event of the closing text as it continues what was shown; None for a choice that had ended."""
        if isinstance(event, Usage):
            shown = sum(map(self._tokens, self._texts.values()))
            return replace(
                event, completion_tokens=event.completion_tokens + shown, wire=event.wire and event.wire.changed()
            )
        if event.index in self._finished or (event.opening and event.index in self._opened):
            return None
        if event.index in self._begun:  # the shown part ends where it was cut; the closing text gets its own line
            self._begun.discard(event.index)
            return replace(event, text="\n" + event.text, wire=event.wire and event.wire.changed())
        return event
