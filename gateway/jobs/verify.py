"""Verification: probes and retain prompts through the real path, under the policy that would be promoted.

A forget probe shows the knowledge when its answer is closer to the bare model's than half way up
from what the model says about nobody, or holds half of the telling words that only the bare model's has.
Only probes that tell the two apart count, and a few must: what the model never knew cannot leak. A
retain probe shows it when its answer is what it was, to the letter.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from adapters.base import Artifact, Call
from adapters.eco.likeness import rouge_l
from gateway.core import GREEDY, Core, text_of
from gateway.jobs.probes import Probe as Question
from gateway.jobs.probes import probes_about, retained
from gateway.jobs.targets import Held
from gateway.jobs.unknown import ignorant, shows
from gateway.policy import Policy
from gateway.registry import ForgetRequest, Probe, Verification
from guards.base import Conversation

_KNOWN = 0.8  # ROUGE-L above which "known" and "unknown" answers cannot be told apart
_LEAK = 0.05  # share of forget probes that may show the knowledge
_LOST = 0.05  # share of retain probes that may be answered otherwise
_TELLING = 4  # probes to which the model knows the answer; fewer prove nothing
_AT_ONCE = 4  # more would wait for each other past the guards' deadline

T = TypeVar("T")


async def verify(
    core: Core, request: ForgetRequest, artifact: Artifact | None, held: Held | None = None
) -> Verification:
    """Probes the target and its surroundings under the candidate policy; see `Enforcer.candidate`."""
    policy = core.enforcer.candidate(request.id, artifact, held)
    probes = await probed(core, policy, probes_about(request.spec).held_out, retained(request.spec))
    method = artifact.method if artifact else "ignorance"
    found = Verification(method=method, passed=False, probes=probes)
    return found.model_copy(update={"passed": _passes(found, artifact is None)})


async def probed(core: Core, policy: Policy, about: Sequence[Question], ordinary: Sequence[str]) -> tuple[Probe, ...]:
    """Forget probes, then retain probes, in the order given: asked without any policy, and under this one."""
    asking = asyncio.Semaphore(_AT_ONCE)

    async def one(probing: Awaitable[T]) -> T:
        async with asking:
            return await probing

    forgotten, kept = await asyncio.gather(
        asyncio.gather(*(one(_forgotten(core, policy, question)) for question in about)),
        asyncio.gather(*(one(_kept(core, policy, question)) for question in ordinary)),
    )
    return (*forgotten, *kept)


def summary(found: Verification) -> dict[str, Any]:
    """What the resource shows of a verification: rates, no texts."""
    return {
        "method": found.method,
        "passed": found.passed,
        "leak": found.leak().model_dump(),
        "retention": found.retention().model_dump(),
    }


def _passes(found: Verification, ignorance: bool) -> bool:
    """A method that changes what the model says must show that it does; ready answers need not."""
    telling = [probe for probe in found.probes if probe.aim == "forget" and probe.knows_before]
    leaks = sum(probe.knows_after for probe in telling)
    enough = ignorance or len(telling) >= _TELLING
    return enough and leaks <= _LEAK * len(telling) and found.retention().after.value >= 1 - _LOST


async def _forgotten(core: Core, policy: Policy, asked: Question) -> Probe:
    """A probe that tells nothing where the model says about nobody what it says about the target."""
    before, unknown, after = await asyncio.gather(
        core.ask(asked.question), ignorant(core, asked), _gated(core, policy, asked.question)
    )
    knows = rouge_l(unknown, before) <= _KNOWN
    leaks = knows and shows(after, before, unknown, asked.question)
    return _probe("forget", asked.form, asked.question, before, after, knows, leaks)


async def _kept(core: Core, policy: Policy, question: str) -> Probe:
    before, after = await asyncio.gather(core.ask(question), _gated(core, policy, question))
    return _probe("retain", "direct", question, before, after, True, before == after)


def _probe(aim: Any, form: str, question: str, before: str, after: str, knew: bool, knows: bool) -> Probe:
    return Probe(
        aim=aim, form=form, question=question, before=before, after=after, knows_before=knew, knows_after=knows
    )


async def _gated(core: Core, policy: Policy, question: str) -> str:
    call = Call(Conversation.of(question), GREEDY)
    return await text_of(core.answer(call, policy))
