"""From the registry to the policy: what is at rest becomes what is enforced, swapped whole."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from adapters.base import Artifact
from adapters.router import Enforcement
from gateway.policy import Policies, Policy
from gateway.registry import Artifacts, ForgetRequest, Registry
from gateway.settings import Settings
from gateway.telemetry import Meter
from guards.base import Runner
from guards.encoder import Encoder
from guards.index import DenseGuard, TargetIndex
from guards.lexicon import LexiconGuard
from guards.output import OutputGuard
from guards.targets import Targets


class Enforcer:
    """Builds policies. One index holds the targets of all requests; each policy sees its own of them."""

    def __init__(
        self, settings: Settings, registry: Registry, artifacts: Artifacts, encoder: Encoder, meter: Meter
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._artifacts = artifacts
        self._encoder = encoder
        self._meter = meter
        self._targets: dict[str, Targets] = {}
        self._index = TargetIndex(encoder.dim)
        self._refreshing = asyncio.Lock()
        self.policies = Policies(self._policy(0, {}))

    async def restore(self) -> None:
        """Everything that was enforced before, enforced again."""
        blobs = await self._registry.targets()
        loaded = await asyncio.to_thread(self._load, blobs)
        for targets in loaded:
            self._keep(targets)
        await self.refresh()

    async def refresh(self) -> None:
        """The policy of the registry's present revision becomes the current one."""
        async with self._refreshing:
            revision = await self._registry.revision()
            if revision == self.policies.current.revision:
                return
            active = await self._registry.active()
            missing = [request.id for request in active if request.id not in self._targets]
            if missing:
                for targets in self._load(await self._registry.targets(missing)):
                    self._keep(targets)
            enforced = {request.id: await self.enforcement(request) for request in active}
            self._drop(self._targets.keys() - enforced.keys())
            self.policies.swap(self._policy(revision, enforced))
            self._meter.enforcing(revision, Counter(str(request.state) for request in active))

    async def enforcement(self, request: ForgetRequest) -> Enforcement:
        """How a request is enforced now: its own method if that was verified, else the shield alone."""
        if request.method in (None, "ignorance"):
            return Enforcement(request.id)
        artifact = await self._artifacts.get(request.artifacts[request.method])
        return Enforcement(request.id, (request.method,), {request.method: artifact})

    def candidate(self, request: str, artifact: Artifact | None) -> Policy:
        """The current policy with one request enforced by an artifact still to be verified; None is ignorance."""
        current = self.policies.current
        tried = Enforcement(request)
        if artifact:
            tried = Enforcement(request, (artifact.method,), {artifact.method: artifact})
        return self._policy(current.revision, {**current.enforced, request: tried})

    def targets_of(self, request: str) -> Targets | None:
        """What the guards look for on behalf of a request."""
        return self._targets.get(request)

    def _policy(self, revision: int, enforced: Mapping[str, Enforcement]) -> Policy:
        targets = [self._targets[request] for request in enforced]
        guards = (
            LexiconGuard(targets),
            DenseGuard(self._encoder, self._index.view(frozenset(enforced))),
        )
        runner = Runner(guards, self._settings.guard.deadline_s, self._meter.guard_failed)
        return Policy(revision, runner, OutputGuard(targets), enforced)

    def _keep(self, targets: Targets) -> None:
        self._targets[targets.request] = targets
        self._index.add(targets)

    def _drop(self, requests: Iterable[str]) -> None:
        for request in list(requests):
            del self._targets[request]
            self._index.discard(request)

    def _load(self, blobs: Mapping[str, bytes]) -> list[Targets]:
        return [Targets.from_bytes(blob, self._encoder.identity) for blob in blobs.values()]
