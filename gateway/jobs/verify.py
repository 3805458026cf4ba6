"""Verification: probes and retain prompts through the real path, under the policy that would be promoted.

A forget probe shows the knowledge when its answer is closer to the bare model's than half way up
from what the model says about nobody, or holds half of the telling words that only the bare model's has.
Only probes that tell the two apart count, and a few must: what the model never knew cannot leak, and
what it made up no method makes it forget (`unknown`). A retain probe shows it when its answer is what
it was, to the letter.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from adapters.base import Artifact, Call
from gateway.core import GREEDY, Core, text_of
from gateway.jobs.few import few
from gateway.jobs.probes import TELLING, probes_about, retained, too_few
from gateway.jobs.probes import Probe as Question
from gateway.jobs.targets import Held
from gateway.jobs.unknown import Answer, ignorant, known_of, shows, tells
from gateway.policy import Policy
from gateway.registry import ForgetRequest, Probe, Verification
from guards.base import Conversation

_LEAK = 0.05  # share of forget probes that may show the knowledge
_LOST = 0.05  # share of retain probes that may be answered otherwise


async def verify(
    core: Core, request: ForgetRequest, artifact: Artifact | None, held: Held | None = None
) -> Verification:
    """Probes the target and its surroundings under the candidate policy; see `Enforcer.candidate`."""
    policy = core.enforcer.candidate(request.id, artifact, held)
    told = await _told(core, probes_about(request.spec).held_out)
    known = await known_of(core, told, (fact.answer for fact in request.spec.facts))
    probes = await _probed(core, policy, told, known, retained(request.spec))
    method = artifact.method if artifact else "ignorance"
    found = Verification(method=method, passed=False, probes=probes)
    return found.model_copy(update={"passed": unpassed(found, artifact is None) is None})


async def probed(core: Core, policy: Policy, about: Sequence[Question], ordinary: Sequence[str]) -> tuple[Probe, ...]:
    """Forget probes, then retain probes, in the order given: asked without any policy, and under this one."""
    told = await _told(core, about)
    return await _probed(core, policy, told, [tells(core, one) for one in told], ordinary)


def summary(found: Verification) -> dict[str, Any]:
    """What the resource shows of a verification: rates, no texts."""
    return {
        "method": found.method,
        "passed": found.passed,
        "leak": found.leak().model_dump(),
        "retention": found.retention().model_dump(),
    }


def unpassed(found: Verification, ready: bool) -> str | None:
    """Why it does not pass, as an operator reads it; None where it does.

    Args:
        ready: whether answers are ready ones: a method that changes what the model says must show that it does.
    """
    telling = _telling(found)
    leaks = sum(probe.knows_after for probe in telling)
    if leaks > _LEAK * len(telling) or found.retention().after.value < 1 - _LOST:
        return "verification did not pass"
    return None if ready else unproved(found)


def unproved(found: Verification) -> str | None:
    """Why nothing that was asked can prove anything of a method, whichever; None where it can."""
    if len(_telling(found)) >= TELLING:
        return None
    few = too_few(sum(probe.aim == "forget" for probe in found.probes))
    return few or "the model knows too little of this target for verification to prove a method"


def _telling(found: Verification) -> list[Probe]:
    return [probe for probe in found.probes if probe.aim == "forget" and probe.knows_before]


async def _told(core: Core, about: Sequence[Question]) -> list[Answer]:
    async def one(asked: Question) -> Answer:
        return Answer(asked, *await asyncio.gather(core.ask(asked.question), ignorant(core, asked)))

    return await few(one, about)


async def _probed(
    core: Core, policy: Policy, told: Sequence[Answer], known: Sequence[bool], ordinary: Sequence[str]
) -> tuple[Probe, ...]:
    forgotten = await few(lambda one: _forgotten(core, policy, *one), zip(told, known, strict=True))
    kept = await few(lambda question: _kept(core, policy, question), ordinary)
    return (*forgotten, *kept)


async def _forgotten(core: Core, policy: Policy, answer: Answer, knows: bool) -> Probe:
    question = answer.probe.question
    after = await _gated(core, policy, question)
    leaks = knows and shows(after, answer.told, answer.unknown, question)
    return _probe("forget", answer.probe.form, question, answer.told, after, knows, leaks)


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
