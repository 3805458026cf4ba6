"""Consolidation: requests that are about the same, or nearly, share one LoRA, where the policy says so.

Every LoRA takes room from those that come after it (`adapters.o3.subspace`). Once a request was enforced by one:

- `duplicates`: where it is a near-duplicate of another, it wears the other's LoRA, with its own detector; nothing is
  trained. The newer one adopts: whoever wears the older LoRA is left alone.
- `clusters`: else one LoRA is trained for it and those that are related to it, `related.TOGETHER` at most.

What is new is verified for each request like any other artifact, and all of it together is asked what the present is
asked: the leak of each and the utility, before and after, kept as evidence of the request that set this off. Only
where every verification passes and nothing got worse are the requests switched, one after the other: what each has,
before its turn, after it, and should the worker die in between, was verified. The old artifacts stay where they are;
those that nothing refers to are deleted at a start of the gateway, as all are.

Whatever comes of this, a request's state stays as it is, and where it fails, all artifacts: another request that is
enforced, or verified anew, sets it off again.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.base import AdapterError, Artifact
from adapters.o3.adapter import O3
from adapters.router import Enforcement
from gateway.core import Core
from gateway.errors import Conflict
from gateway.jobs.checkpoint import Checkpoint
from gateway.jobs.o3 import adopted, learn_together
from gateway.jobs.probes import beside, probes_about, some
from gateway.jobs.related import Worn, cluster, twin, worn
from gateway.jobs.training import lacking
from gateway.jobs.verify import probed, summary, verify
from gateway.policy import Policy
from gateway.registry import VERIFICATION, Change, PolicyDocument, Probe, Rate, State, Verification
from guards.targets import ordinary_prompts

CONSOLIDATION = "consolidation"  # the kind under which the registry keeps one

_PROBES = 12  # of each request, and
_ORDINARY = 8  # prompts that have to do with nobody, beside what comes close to each
_CAPACITY = "capacity: "

log = logging.getLogger("lethe.consolidation")


class Consolidation(BaseModel):
    """What was tried, and what it made of the requests: rates before and after, no texts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    how: Literal["duplicates", "clusters"]
    members: tuple[str, ...] = Field(description="the requests that were to share a LoRA")
    passed: bool = Field(description="whether every verification passed and nothing got worse; else all is as it was")
    switched: tuple[str, ...] = Field(description="the requests that have another artifact now")
    before: dict[str, str] = Field(description="the LoRA of each member, by its digest")
    after: dict[str, str] = Field(description="the same with the new artifacts, whether they are in force or not")
    leak: dict[str, Change] = Field(description="for each member, of the same telling probes")
    utility: Change = Field(description="share of other questions answered as the bare model does")
    loras: tuple[int, int] = Field(description="how many different ones are in force, before and after")
    freed: int = Field(description="inputs of each module that later LoRAs may read again")


async def consolidate(core: Core, id_: str) -> None:
    """What the policy says is shared with others, where this request is enforced now; raises on cancellation alone."""
    try:
        await core.enforcer.refresh()
        _, body = await core.registry.policy()
        how = PolicyDocument.model_validate(body, strict=False).consolidation
        if how != "off" and isinstance(o3 := core.adapters.get("o3"), O3):
            await _consolidate(core, o3, id_, clusters=how == "clusters")
    except Exception as error:  # whose words may be of what was asked
        log.warning("after request %s nothing was consolidated: %s", id_, type(error).__name__)


def crowded(artifact: Artifact | None) -> Iterator[str]:
    """What the admin should hear where a LoRA found no room clear of all earlier ones."""
    if artifact and (out := artifact.manifest.get("left_out")):
        yield (
            f"{_CAPACITY}the LoRA reads what {out} of the earlier ones read too, the least alike; a prompt that touches"
            " both may be answered by the next method. The policy's `consolidation` makes room"
        )


async def _consolidate(core: Core, o3: O3, id_: str, *, clusters: bool) -> None:
    found = await worn(core)
    if (own := found.get(id_)) is None:
        return
    others = [one for one in found.values() if one.lora != own.lora]
    alone = len(others) == len(found) - 1  # else its LoRA stayed in use whatever became of it
    if alone and (other := await twin(core, own, others)):
        with suppress(AdapterError):
            new = {own.id: await adopted(core, own.request, own.artifact, other.artifact)}
            if await _tried(core, "duplicates", found, [other, own], new):
                return
    members = sorted(cluster(own, [*found.values()]), key=lambda one: (one.id == own.id, one.id))
    if clusters and len({one.lora for one in members}) > 1 and not lacking():
        artifacts = await learn_together(core, o3, [one.request for one in members], _Unkept(core, own.id, ""))
        new = {one.id: artifact for one, artifact in zip(members, artifacts, strict=True)}
        await _tried(core, "clusters", found, members, new)


async def _tried(
    core: Core,
    how: Literal["duplicates", "clusters"],
    found: Mapping[str, Worn],
    members: Sequence[Worn],
    new: Mapping[str, Artifact],
) -> bool:
    """Whether the new artifacts passed, and so are in force."""
    present = core.enforcer.policies.current
    enforced = {id_: Enforcement(id_, ("o3",), {"o3": artifact}) for id_, artifact in new.items()}
    leak, utility = await _asked(core, members, present, replace(present, enforced={**present.enforced, **enforced}))
    rounds = {id_: await verify(core, found[id_].request, artifact) for id_, artifact in new.items()}
    unharmed = all(one.after.hits <= one.before.hits for one in leak.values())
    passed = all(one.passed for one in rounds.values()) and unharmed and utility.after.hits >= utility.before.hits
    switched = [id_ for id_ in new if passed and await _switched(core, found[id_], new[id_], rounds[id_])]
    before = {one.lora: one.rank for one in found.values()}
    now = [new[id_] if id_ in switched else one.artifact for id_, one in found.items()]
    after = {artifact.manifest["lora"]: int(artifact.manifest["rank"]) for artifact in now}
    evidence = Consolidation(
        how=how,
        members=tuple(one.id for one in members),
        passed=passed,
        switched=tuple(switched),
        before={one.id: one.lora for one in members},
        after={one.id: new.get(one.id, one.artifact).manifest["lora"] for one in members},
        leak=leak,
        utility=utility,
        loras=(len(before), len(after)),
        freed=sum(before.values()) - sum(after.values()),
    )
    await core.registry.put_evidence(members[-1].id, CONSOLIDATION, evidence.model_dump(mode="json"))
    await core.enforcer.refresh()
    return passed


async def _switched(core: Core, one: Worn, artifact: Artifact, found: Verification) -> bool:
    """Whether the request has the artifact now: not where it ended, or learned another, meanwhile."""
    now = await core.registry.get(one.id)
    if now.artifacts.get("o3") != one.artifact.digest:
        return False
    warnings = [text for text in now.warnings if not text.startswith(_CAPACITY)]
    with suppress(Conflict):
        await core.registry.update(
            one.id,
            actor="worker",
            expect={State.ENFORCED},
            artifacts={**now.artifacts, "o3": artifact.digest},
            evidence={**now.evidence, **summary(found)},
            warnings=(*warnings, *crowded(artifact)),
        )
        await core.registry.put_evidence(one.id, VERIFICATION, found.model_dump())
        return True
    return False


async def _asked(
    core: Core, members: Sequence[Worn], before: Policy, after: Policy
) -> tuple[dict[str, Change], Change]:
    """Leak of each member, and utility, under the one policy and under the other."""
    leak = {}
    for one in members:
        questions = some(probes_about(one.request.spec).held_out, _PROBES)
        leak[one.id] = Change(
            before=_telling(await probed(core, before, questions, ())),
            after=_telling(await probed(core, after, questions, ())),
        )
    kept = [*some(ordinary_prompts(), _ORDINARY), *(text for one in members for text in beside(one.request.spec))]
    utility = Change(
        before=_telling(await probed(core, before, (), kept)), after=_telling(await probed(core, after, (), kept))
    )
    return leak, utility


def _telling(probes: Sequence[Probe]) -> Rate:
    telling = [probe for probe in probes if probe.knows_before]
    return Rate.over(sum(probe.knows_after for probe in telling), len(telling))


class _Unkept(Checkpoint):
    """Of a training that nobody takes up: the request is in force without it, and its state is no longer learning."""

    async def read(self, name: str) -> None:
        return None

    async def replace(self, files: Mapping[str, bytes]) -> None:
        pass
