"""Targets at rest: what serves each request, as its shield was raised or as it was learned since.

The shield's lie in the registry, what was learned in an artifact of method `guard`, sealed both. A
request says in its `thresholds` which artifact serves it; the artifact is referred to there only once
it was verified. Where one cannot be read, the shield's serve, made again if need be: never none.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.registry import Artifacts, ForgetRequest, Registry, RegistryError
from guards.base import GuardError
from guards.calibration import clopper_pearson_upper
from guards.encoder import Encoder
from guards.learning import LEARN, build_targets
from guards.targets import Background, Source, Targets

GUARD = "guard"  # the method under which a request's artifacts list its learned targets

_FILE = "targets"
_FEW = 500  # requests that the registry is asked for by name

log = logging.getLogger("lethe.targets")


@dataclass(frozen=True, slots=True)
class Held:
    """Targets, and the digest of the artifact that they come from; None: the shield's."""

    targets: Targets = field(repr=False)
    artifact: str | None = None

    def thresholds(self) -> dict[str, Any]:
        """What the resource shows of them: numbers, no text."""
        targets, classifier = self.targets, self.targets.classifier
        touched = int((targets.ordinary >= targets.threshold).sum())
        return {
            "artifact": self.artifact,
            "threshold": targets.threshold,
            "calibration": targets.calibration.record(),
            "classifier": classifier and {"threshold": classifier.threshold, "learned": classifier.learned},
            "judged": targets.judged and targets.judged.record(),
            "ordinary": {
                "prompts": len(targets.ordinary),
                "touched": touched,
                "false_positive_upper": clopper_pearson_upper(touched, len(targets.ordinary)),
            },
            "texts": {"positives": len(targets.positives), "negatives": len(targets.negatives)},
        }


class TargetStore:
    """Makes, keeps and finds the targets of requests."""

    def __init__(self, registry: Registry, artifacts: Artifacts, encoder: Encoder, background: Background) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._encoder = encoder
        self._background = background

    async def shield(self, request: ForgetRequest) -> Held:
        """The shield's targets, made of what was filed and kept in the registry."""
        targets = await build_targets(source_of(request), self._encoder, self._background)
        await self._registry.put_targets(request.id, targets.to_bytes())
        return Held(targets)

    async def shielding(self, request: ForgetRequest) -> Held:
        """The shield's targets as they were kept, or made again."""
        found = self._read(await self._registry.targets([request.id]))
        return found.get(request.id) or await self.shield(request)

    async def learn(self, request: ForgetRequest, heard: tuple[str, ...]) -> Held:
        """Targets of all that was filed and of what the model was heard to say, kept as an artifact."""
        source = source_of(request, heard)
        targets = await build_targets(source, self._encoder, self._background, LEARN, learn=True)
        manifest = {**Held(targets).thresholds(), "encoder": targets.encoder, "heard": len(heard)}
        blob = await asyncio.to_thread(targets.to_bytes)
        digest = await self._artifacts.store(GUARD, request.id, manifest, {_FILE: blob})
        return Held(targets, digest)

    async def learned(self, digest: str) -> Held | None:
        """Learned targets; None, and a line in the log, where they cannot be read or another encoder made them."""
        try:
            blob = await self._artifacts.read(digest, _FILE)
            return Held(await asyncio.to_thread(Targets.from_bytes, blob, self._encoder.identity), digest)
        except (RegistryError, GuardError) as error:
            log.warning("artifact %s is left to its request's shield: %s", digest[:12], error)
            return None

    async def serving(self, requests: Iterable[ForgetRequest]) -> dict[str, Held]:
        """What serves each of these requests, as it was kept; those whose shield cannot be read are left out."""
        found: dict[str, Held] = {}
        rest = []
        for request in requests:
            artifact = artifact_of(request)
            if artifact and (held := await self.learned(artifact)):
                found[request.id] = held
            else:
                rest.append(request.id)
        if rest:
            blobs = await self._registry.targets(rest if len(rest) <= _FEW else None)
            found |= await asyncio.to_thread(self._read, {id_: blobs[id_] for id_ in rest if id_ in blobs})
        return found

    def _read(self, blobs: Mapping[str, bytes]) -> dict[str, Held]:
        found = {}
        for request, blob in blobs.items():
            try:
                found[request] = Held(Targets.from_bytes(blob, self._encoder.identity))
            except GuardError as error:
                log.warning("request %s: %s", request, error)
        return found


def artifact_of(request: ForgetRequest) -> str | None:
    """The digest of the learned targets that serve a request; None where its shield's do."""
    digest: str | None = request.thresholds.get("artifact")
    return digest


def source_of(request: ForgetRequest, heard: tuple[str, ...] = ()) -> Source:
    """What was filed, and heard, as the guards take it."""
    spec = request.spec
    return Source(
        request=request.id,
        scope=spec.scope,
        subject=spec.subject or "",
        aliases=spec.aliases,
        examples=spec.examples,
        facts=tuple((fact.question, fact.answer) for fact in spec.facts),
        documents=spec.documents,
        retain=spec.retain,
        heard=heard,
    )
