"""Which forget requests are about the same, or nearly: told by what their detectors know them by, and by the guards.

A detector keeps forget texts as unit vectors; the likeness of two requests is the cosine of the means of theirs. On the
demo world two requests for the same person in other words are alike to .92 or more, two that share a surname to .85,
and of strangers one pair in a hundred to .77. That a detector gives the other's texts a weight tells nothing: it does
for every namesake. What tells is whether the guards find each request at the other's questions: at .56 of them or more
where it is the same person, at none, one way at least, where it is not. `bench/LOG.md` has the figures.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adapters.base import Artifact
from adapters.o3.adapter import DETECTOR
from gateway.core import Core
from gateway.jobs.probes import probes_about
from gateway.registry import ForgetRequest, RegistryError, State
from guards.base import Conversation, GuardError
from guards.encoder import Floats
from guards.ood import Detector

TOGETHER = 4  # requests that one LoRA is trained for, at most: its rank is one request's

_ALIKE = 0.88  # of near-duplicates, and
_FOUND = 0.5  # the share of either's questions at which the guards find the other
_RELATED = 0.75  # of those that one LoRA is trained for, each to each


@dataclass(frozen=True, slots=True, eq=False)
class Worn:
    """A request that a LoRA enforces. `centre` is the mean of its detector's texts, a unit vector (d,)."""

    request: ForgetRequest
    artifact: Artifact
    centre: Floats = field(repr=False)

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def lora(self) -> str:
        return str(self.artifact.manifest["lora"])

    @property
    def rank(self) -> int:
        return int(self.artifact.manifest["rank"])


async def worn(core: Core) -> dict[str, Worn]:
    """All requests that are enforced by o3 and whose artifact can be read, by id, oldest first."""
    found = {}
    for request in await core.registry.active():
        if request.state is State.ENFORCED and request.method == "o3":
            with suppress(RegistryError, GuardError):  # nobody wears what cannot be read
                artifact = await core.artifacts.get(request.artifacts["o3"])
                raw = await core.artifacts.read(artifact.digest, DETECTOR)
                rows = Detector.from_bytes(raw, core.encoder.identity).clouds[0].rows
                found[request.id] = Worn(request, artifact, _unit(rows.astype(np.float32).mean(axis=0)))
    return found


async def twin(core: Core, own: Worn, others: Iterable[Worn]) -> Worn | None:
    """The nearest of the others that is a near-duplicate, if any is."""
    for one in sorted(others, key=lambda one: -_likeness([own], [one])):
        if _likeness([own], [one]) < _ALIKE:
            return None
        if await _found(core, one, own) >= _FOUND and await _found(core, own, one) >= _FOUND:
            return one
    return None


def cluster(own: Worn, others: Sequence[Worn], most: int = TOGETHER) -> tuple[Worn, ...]:
    """The request with all that have its LoRA, and those that have related ones, the nearest first; `most` in all.

    A LoRA comes with all that have it or not at all, so that it is out of use thereafter; and every two requests of
    what comes of it are related.
    """
    groups: dict[str, list[Worn]] = {}
    for one in others:
        if one.id != own.id:
            groups.setdefault(one.lora, []).append(one)
    found = [own, *groups.pop(own.lora, ())]
    for group in sorted(groups.values(), key=lambda group: -_likeness([own], group)):
        if len(found) + len(group) <= most and _likeness(found, group) >= _RELATED:
            found += group
    return tuple(found)


def _likeness(some: Sequence[Worn], others: Sequence[Worn]) -> float:
    """Of the two that are least alike."""
    return float(min(one.centre @ other.centre for one in some for other in others))


async def _found(core: Core, who: Worn, at: Worn) -> float:
    """The share of one request's questions at which the guards find the other."""
    guards = core.enforcer.policies.current.guards
    questions = [probe.question for probe in probes_about(at.request.spec).held_out]
    verdicts = [await guards.classify(Conversation.of(question)) for question in questions]
    return sum(any(hit.request == who.id for hit in verdict.hits) for verdict in verdicts) / max(1, len(verdicts))


def _unit(vector: Any) -> Floats:
    unit: Floats = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit
