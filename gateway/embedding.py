"""Embeddings under the guard, as one function: a vector carries nothing of what is to be forgotten.

Every text is classified by itself. In place of a touched one, the model reads how it says itself that it does not
know. What was sent is embedded all the same, and thrown away: tokens, time and errors are those of any other request.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.base import Call, Embedded, Engine, Say
from adapters.router import Router
from gateway.policy import Policy
from gateway.telemetry import Meter
from guards.base import Conversation

_AT_ONCE = 8  # texts before the guards: more would wait for each other past the deadline


async def embedded(
    texts: Sequence[str], options: Mapping[str, Any], policy: Policy, router: Router, engine: Engine, meter: Meter
) -> Embedded:
    """The vectors of `texts` under this policy.

    Raises:
        EngineError: the model gives none, or the engine fails.
    """
    room = asyncio.Semaphore(_AT_ONCE)

    async def instead(text: str) -> str | None:
        """What the model reads in place of a touched text."""
        call = Call(Conversation.of(text))
        with meter.or_refused():
            async with room:
                verdict = await policy.guards.classify(call.conversation)
        meter.decided(verdict)
        if not verdict.touched:
            return None
        plan = await router.last_resort(call, verdict.hits)
        assert isinstance(plan, Say)
        return plan.text

    with meter.classifying():  # one request, however many its texts are
        said = {i: words for i, words in enumerate(await asyncio.gather(*map(instead, texts))) if words is not None}
    if not said:
        return await engine.embed(texts, options)
    try:
        async with asyncio.TaskGroup() as both:
            sent = both.create_task(engine.embed(texts, options))
            other = both.create_task(engine.embed(tuple(said.values()), options))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    vectors = list(sent.result().vectors)
    for i, vector in zip(said, other.result().vectors, strict=True):
        vectors[i] = vector
    return Embedded(tuple(vectors), sent.result().prompt_tokens)
