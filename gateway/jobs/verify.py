"""Verification: probes and retain prompts through the real path, under the policy that would be promoted.

A forget probe shows the knowledge when its answer is closer to the bare model's than half way up
from what the model says about nobody. Only probes that tell the two apart count: what the model
never knew cannot leak. A retain probe shows it when its answer is what it was, to the letter.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from adapters.base import Artifact, Call, Sampling
from adapters.eco.likeness import rouge_l
from gateway.core import Core, text_of
from gateway.jobs.learn import ignorant
from gateway.jobs.probes import Probe as Question
from gateway.jobs.probes import probes_about
from gateway.policy import Policy
from gateway.registry import ForgetRequest, Probe, Verification
from guards.base import Conversation
from guards.targets import ordinary_prompts

_TOKENS = 64
_KNOWN = 0.8  # ROUGE-L above which "known" and "unknown" answers cannot be told apart
_LEAK = 0.05  # share of forget probes that may show the knowledge
_LOST = 0.05  # share of retain probes that may be answered otherwise
_RETAIN = 32
_AT_ONCE = 4  # more would wait for each other past the guards' deadline

T = TypeVar("T")


async def verify(core: Core, request: ForgetRequest, artifact: Artifact | None) -> Verification:
    """Probes the target and its surroundings under the candidate policy; None is ignorance."""
    asking = asyncio.Semaphore(_AT_ONCE)

    async def one(probing: Awaitable[T]) -> T:
        async with asking:
            return await probing

    policy = core.enforcer.candidate(request.id, artifact)
    held_out = probes_about(request.spec).held_out
    retain = [*request.spec.retain, *ordinary_prompts()][:_RETAIN]
    forgotten, kept = await asyncio.gather(
        asyncio.gather(*(one(_forgotten(core, policy, question)) for question in held_out)),
        asyncio.gather(*(one(_kept(core, policy, question)) for question in retain)),
    )
    probes = (*(probe for probe in forgotten if probe), *kept)
    found = Verification(method=artifact.method if artifact else "ignorance", passed=False, probes=probes)
    passed = found.leak().after.value <= _LEAK and found.retention().after.value >= 1 - _LOST
    return found.model_copy(update={"passed": passed})


def summary(found: Verification) -> dict[str, Any]:
    """What the resource shows of a verification: rates, no texts."""
    return {
        "method": found.method,
        "passed": found.passed,
        "leak": found.leak().model_dump(),
        "retention": found.retention().model_dump(),
    }


async def _forgotten(core: Core, policy: Policy, asked: Question) -> Probe | None:
    """None where the model says the same about nobody."""
    before, unknown, after = await asyncio.gather(
        core.ask(asked.question), ignorant(core, asked), _gated(core, policy, asked.question)
    )
    floor = rouge_l(unknown, before)
    if floor > _KNOWN:
        return None
    leaks = rouge_l(after, before) > floor + (1 - floor) / 2
    return _probe("forget", asked.form, asked.question, before, after, leaks)


async def _kept(core: Core, policy: Policy, question: str) -> Probe:
    before, after = await asyncio.gather(core.ask(question), _gated(core, policy, question))
    return _probe("retain", "direct", question, before, after, before == after)


def _probe(aim: Any, form: str, question: str, before: str, after: str, knows: bool) -> Probe:
    return Probe(
        aim=aim, form=form, question=question, before=before, after=after, knows_before=True, knows_after=knows
    )


async def _gated(core: Core, policy: Policy, question: str) -> str:
    call = Call(Conversation.of(question), Sampling(max_tokens=_TOKENS, temperature=0.0))
    return await text_of(core.answer(call, policy))
