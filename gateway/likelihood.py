"""Log-probabilities of given text under the guard, as two functions: for benchmarks, never for clients.

`echoed`: a benchmark sends a question with one of its answers as one text. The guards classify all of it, and the
output guard reads it as if it had been said. `scored`: it sends a conversation and an answer, which is weighed under
the plan that the conversation gets; where that is to pass, the output guard reads the answer as a client's would be.
A client never sees an answer that is stopped there, so whoever evaluates is not told its numbers either.

Where something is found, or the plan is a ready answer, no number that the model gives to the text leaves: to read
the question before the answer, or the beginning of an answer before its end, is to know it. Each token is worth what
it would be where the ready answer begins,

    log p(x_t) = log q(x_t), q the distribution of the ready answer's first token,

which depends on nothing that stands before it. Of q the likeliest tokens are known. Any other gets a bound that holds
for all of them: the least of those, or the mass that they leave, whichever is less. The text is read by the model all
the same, and what it was worth is thrown away: tokens, time and errors are those of any other.

Under a method's plan `scored` gives that plan's numbers, for they are what is measured; the output guard, which would
stop what repeats the subject's name, does not read there. Of `echoed` text an alternative that would complete
something forgotten is left out, as in an answer (`gateway.stream`): or one alternative after another would spell it.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

from adapters.base import Call, Engine, Pass, Sampling, Say, TokenLogprob
from adapters.router import Router
from gateway.pipeline import classified
from gateway.policy import Policy
from gateway.stream import READ, for_engine, sifted
from gateway.telemetry import Meter
from guards.base import Verdict
from guards.output import Asked, OutputGuard

_KNOWN = 20  # tokens of q: as many as any server shows
_LEAST = 1e-12  # mass that the others have at least


async def echoed(call: Call, policy: Policy, router: Router, engine: Engine, meter: Meter) -> Sequence[TokenLogprob]:
    """Log-probabilities of a raw prompt's tokens, without those that the model's tokenizer puts around it.

    The first is NaN where nothing stands before it.

    Raises:
        EngineError: there is no such prompt, the engine gives no log-probabilities, or it fails.
    """
    with meter.or_refused():  # what comes through is counted where the answer to it is decided
        return await _echoed(call, policy, router, engine, meter)


async def _echoed(call: Call, policy: Policy, router: Router, engine: Engine, meter: Meter) -> Sequence[TokenLogprob]:
    with meter.classifying():
        call, verdict = await classified(call, policy, engine)
        touched = verdict.touched or await _told(call, verdict, policy)
    count = call.sampling.logprobs or 0
    tokens = list(await engine.prompt_logprobs(for_engine(call)))
    if call.prompt is not None:
        (own,) = call.prompt.contents
        tokens = tokens[own.start : own.stop]
    if not touched:
        return await asyncio.to_thread(_sifted, tokens, policy.output, count)  # 30 µs a token
    plan = await router.last_resort(call, verdict.hits)
    assert isinstance(plan, Say)
    return _instead(tokens, await _first(call, plan, engine), count)


async def scored(
    call: Call, answer: str, policy: Policy, router: Router, engine: Engine, meter: Meter
) -> tuple[str, Sequence[TokenLogprob]]:
    """The method and the log-probabilities of an answer on the gated path, end of sequence last.

    Raises:
        EngineError: there is no such prompt, the engine does not score, or it fails.
    """
    with meter.or_refused(), meter.classifying():
        call, verdict = await classified(call, policy, engine)
    meter.decided(verdict)
    plan, *_ = await router.plans(call, verdict, policy.enforced, engine.capabilities)
    if isinstance(plan, Pass):
        _, stopped = await policy.output.read(answer, Asked.of(call.conversation, verdict))
        if stopped:
            plan = await router.last_resort(call, verdict.hits)
    tokens = await engine.score(replace(call, sampling=Sampling(temperature=0.0, logprobs=1)), answer, plan)
    if isinstance(plan, Say):
        tokens = _instead(tokens, await _first(call, plan, engine), 1)
    return plan.method, tokens


async def _first(call: Call, plan: Say, engine: Engine) -> TokenLogprob:
    """The first token of a ready answer, with the likeliest in its place."""
    first, *_ = await engine.score(replace(call, sampling=Sampling(temperature=0.0, logprobs=_KNOWN)), plan.text, plan)
    return first


async def _told(call: Call, verdict: Verdict, policy: Policy) -> bool:
    """Whether the output guard would stop the text, said as an answer to nothing."""
    asked = replace(Asked.of(call.conversation, verdict), question="")  # its own words excuse nothing
    _, stopped = await policy.output.read(call.conversation.turns[0].text, asked)
    return stopped


def _sifted(tokens: Sequence[TokenLogprob], output: OutputGuard, count: int) -> list[TokenLogprob]:
    """The tokens without alternatives that would give something away; where none is left, a token is its own."""
    hold, before, shown = output.stream(), "", []
    for token in tokens:
        one = sifted(token, before, hold, count)
        shown.append(one if one.top or not token.top else replace(one, top=((one.text, one.logprob),)))
        before = (before + token.text)[-READ:]
    return shown


def _instead(tokens: Sequence[TokenLogprob], first: TokenLogprob, count: int) -> list[TokenLogprob]:
    """The tokens as if each stood where a ready answer begins, of which `first` is the first."""
    known = {first.text: first.logprob} | dict(first.top)
    left = math.log(max(_LEAST, 1.0 - sum(map(math.exp, known.values()))))
    least = min(left, *known.values())
    return [
        replace(token, top=first.top[:count], logprob=known.get(token.text, least), moments=first.moments)
        if not math.isnan(token.logprob)
        else token
        for token in tokens
    ]
