"""Whether what was forgotten stays so: once a request is enforced, earlier ones are asked again, through the real path.

Each request that is enforced makes a column of `gateway.registry.Matrix`, kept as evidence of that request. A column
asks as much however many there are: a fixed number of requests is asked again, half of them those that the guards
find at the new one's own questions, which is where one can disturb the other; the rest in turn, so that everyone is
asked again from time to time. Each is asked what told the model that knows from the one that does not when it was
verified, the same questions every time: what moves between two cells of a row is the policy, not the draw.

The request is in force before and whatever comes of this: a failure, or the worker's death, costs its column.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.base import EngineRejected
from gateway.core import Core
from gateway.jobs.probes import Probe as Question
from gateway.jobs.probes import beside, probes_about, some
from gateway.jobs.verify import probed
from gateway.policy import Policy
from gateway.registry import (
    PERSISTENCE,
    VERIFICATION,
    ForgetRequest,
    Leak,
    Matrix,
    Probe,
    Rate,
    State,
    Step,
    Verification,
)
from guards.base import Conversation
from guards.targets import ordinary_prompts

log = logging.getLogger("lethe.persistence")

_PROBES = 6  # of each request that is asked again
_ORDINARY = 8  # prompts that have to do with nobody: with what comes close to each request they make the utility


async def ask_again(core: Core, id_: str) -> None:
    """The next step of the matrix, where this request is enforced now; never raises but on cancellation."""
    try:
        await core.enforcer.refresh()
        active = {one.id: one for one in await core.registry.active()}
        if core.settings.jobs.again and id_ in active and active[id_].state is State.ENFORCED:
            step = await _step(core, active.pop(id_), active)
            await core.registry.put_evidence(id_, PERSISTENCE, step.model_dump())
    except Exception as error:  # whose words may be of what was asked
        log.warning("after request %s nobody could be asked again: %s", id_, type(error).__name__)


async def matrix(core: Core) -> Matrix:
    """All steps so far."""
    return Matrix(tuple(Step.model_validate(found.data) for _, found in await core.registry.evidence_of(PERSISTENCE)))


def chosen(earlier: Sequence[str], near: Sequence[str], asked: Mapping[str, int], most: int) -> tuple[str, ...]:
    """Who is asked again: of the near, nearest first, up to half; then those whom nobody has asked for longest.

    Args:
        earlier: who may be asked, oldest first; of those asked at the same step, or never, the oldest come first.
        near: some of them.
        asked: the step at which each was asked last; those left out never were.
    """
    first = near[: most // 2]
    turn = sorted((one for one in earlier if one not in first), key=lambda one: asked.get(one, -1))
    return (*first, *turn[: most - len(first)])


@dataclass(frozen=True, slots=True)
class _Told:
    """What told at a request's verification, to be asked again, and how much of it showed the knowledge then."""

    questions: tuple[Question, ...] = field(repr=False)
    rate: Rate


async def _step(core: Core, request: ForgetRequest, others: Mapping[str, ForgetRequest]) -> Step:
    """The step after `request`; `others` are all that shield or enforce beside it."""
    policy = core.enforcer.policies.current
    before = await matrix(core)
    own = await _told(core, request)
    earlier = {id_: one for id_, one in others.items() if one.state is State.ENFORCED}
    near = [id_ for id_ in await _near(policy, probes_about(request.spec).held_out) if id_ in earlier]
    again = [earlier[id_] for id_ in chosen([*earlier], near, before.asked, core.settings.jobs.again)]
    leak = [Leak(request=one.id, rate=await _leak(core, policy, one)) for one in again]
    near_by = [question for one in (*again, request) for question in beside(one.spec)]
    kept = await probed(core, policy, (), [*some(ordinary_prompts(), _ORDINARY), *near_by])
    return Step(
        after=request.id,
        leak=(*leak, Leak(request=request.id, rate=own.rate)),
        utility=Rate.over(sum(probe.knows_after for probe in kept), len(kept)),
        ended=tuple(sorted(before.rows.keys() - others.keys() - before.ended.keys() - {request.id})),
    )


async def _leak(core: Core, policy: Policy, request: ForgetRequest) -> Rate:
    """Of no probes where none told anything, or the engine takes them no longer: then it is its turn later."""
    told = await _told(core, request)
    try:
        return _rate(await probed(core, policy, told.questions, ()))
    except EngineRejected:
        return Rate.over(0, 0)


async def _told(core: Core, request: ForgetRequest) -> _Told:
    rounds = [
        Verification.model_validate(found.data)
        for found in await core.registry.evidence(request.id)
        if found.kind == VERIFICATION
    ]
    passed = [found for found in rounds if found.passed]
    asked = {question.question: question for question in probes_about(request.spec).held_out}
    telling = [probe for found in passed[-1:] for probe in found.probes if probe.question in asked]
    picked = some([probe for probe in telling if probe.aim == "forget" and probe.knows_before], _PROBES)
    return _Told(tuple(asked[probe.question] for probe in picked), _rate(picked))


async def _near(policy: Policy, questions: Sequence[Question]) -> list[str]:
    """The requests that the guards find, or nearly, at these questions, the likeliest first."""
    margins: dict[str, float] = {}
    for question in questions:
        verdict = await policy.guards.classify(Conversation.of(question.question))
        for hit in (*verdict.hits, *verdict.near):
            margins[hit.request] = max(margins.get(hit.request, hit.score - hit.threshold), hit.score - hit.threshold)
    return sorted(margins, key=lambda id_: -margins[id_])


def _rate(probes: Sequence[Probe]) -> Rate:
    telling = [probe for probe in probes if probe.knows_before]
    return Rate.over(sum(probe.knows_after for probe in telling), len(telling))
