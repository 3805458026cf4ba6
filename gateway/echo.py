"""The log-probabilities of a prompt's own tokens under the guard, as one function: for benchmarks, never for clients.

A benchmark sends a question with one of its answers as one text (`echo`). The guards classify all of it, and the
output guard reads it as if it had been said. Where either finds something, no number that the model gives to the text
leaves: to read the question before the answer is to know the answer. Learned methods serve conversations, of a bare
text the plan is a ready answer; so each of its tokens is worth what it would be where that answer begins,

    log p(x_t) = log q(x_t), q the distribution of the ready answer's first token,

which depends on nothing that stands before it. Of q the likeliest tokens are known. Any other gets a bound that holds
for all of them: the least of those, or the mass that they leave, whichever is less. The text is read by the model all
the same, and what it was worth is thrown away: tokens, time and errors are those of any other.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from adapters.base import Call, Engine, Sampling, Say, TokenLogprob
from adapters.router import Router
from gateway.pipeline import classified
from gateway.policy import Policy
from gateway.telemetry import Meter
from guards.base import Verdict
from guards.output import Asked

_KNOWN = 20  # tokens of q: as many as any server shows
_LEAST = 1e-12  # mass that the others have at least


async def echoed(call: Call, policy: Policy, router: Router, engine: Engine, meter: Meter) -> Sequence[TokenLogprob]:
    """Log-probabilities of a raw prompt's tokens, without those that the model's tokenizer puts around it.

    The first is NaN where nothing stands before it.

    Raises:
        EngineError: there is no such prompt, the engine gives no log-probabilities, or it fails.
    """
    with meter.classifying():
        call, verdict = await classified(call, policy, engine)
        touched = verdict.touched or await _told(call, verdict, policy)
    tokens = list(await engine.prompt_logprobs(call))
    if call.prompt is not None:
        (own,) = call.prompt.contents
        tokens = tokens[own.start : own.stop]
    if not touched:
        return tokens
    plan = await router.last_resort(call, verdict.hits)
    assert isinstance(plan, Say)
    asked = replace(call, sampling=Sampling(temperature=0.0, logprobs=_KNOWN))
    first, *_ = await engine.score(asked, plan.text, plan)
    return _instead(tokens, first, call.sampling.logprobs or 0)


async def _told(call: Call, verdict: Verdict, policy: Policy) -> bool:
    """Whether the output guard would stop the text, said as an answer to nothing."""
    asked = replace(Asked.of(call.conversation, verdict), question="")  # its own words excuse nothing
    _, stopped = await policy.output.read(call.conversation.turns[0].text, asked)
    return stopped


def _instead(tokens: Sequence[TokenLogprob], first: TokenLogprob, count: int) -> list[TokenLogprob]:
    """The tokens as if each stood where a ready answer begins, of which `first` is the first."""
    known = {first.text: first.logprob} | dict(first.top)
    left = math.log(max(_LEAST, 1.0 - sum(map(math.exp, known.values()))))
    least = min(left, *known.values())
    return [
        replace(token, top=first.top[:count], logprob=known.get(token.text, least))
        if not math.isnan(token.logprob)
        else token
        for token in tokens
    ]
