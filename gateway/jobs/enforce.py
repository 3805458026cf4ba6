"""From the registry to the policy: what is at rest becomes what is enforced, swapped whole."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from adapters.base import Artifact
from adapters.router import Enforcement
from gateway.errors import Conflict
from gateway.policy import Policies, Policy
from gateway.registry import ACTIVE, Artifacts, ForgetRequest, PolicyDocument, Registry, RegistryError
from gateway.settings import Settings
from gateway.telemetry import Meter
from guards.base import GuardError
from guards.dense import DenseGuard
from guards.encoder import Encoder
from guards.index import TargetIndex
from guards.learning import build_targets
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.output import UNGUARDED, OutputGuard
from guards.recent import RememberingRunner
from guards.slots import Facts
from guards.targets import Background, Source, Targets
from guards.verbatim import Passages

log = logging.getLogger("lethe.enforce")


class Enforcer:
    """Builds policies. One index holds the targets of all requests; each policy sees its own of them."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        artifacts: Artifacts,
        encoder: Encoder,
        background: Background,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._artifacts = artifacts
        self._encoder = encoder
        self._background = background
        self._meter = meter
        self._held: set[str] = set()  # requests whose targets are in the indexes
        self._requests: dict[str, ForgetRequest] = {}
        self._enforced: dict[str, Enforcement] = {}
        self._likeness = TargetIndex(background)
        self._names = LexiconIndex()
        self._passages = Passages()
        self._facts = Facts()
        self._document = PolicyDocument()
        self._refreshing = asyncio.Lock()
        self._settling: asyncio.Task[None] | None = None
        self.policies = Policies(self._policy(0, {}))

    async def restore(self) -> None:
        """Everything that was enforced before, enforced again."""
        async with self._refreshing:
            revision = await self._registry.revision()
            await self._read_document()
            await self._take_up(await self._registry.active(), await self._registry.targets())
            self._swap(revision)

    async def refresh(self) -> None:
        """The policy of the registry's present revision becomes the current one; costs what has changed."""
        async with self._refreshing:
            since = self.policies.current.revision
            revision = await self._registry.revision()
            if revision == since:
                return
            before = self._document
            await self._read_document()
            changed = await self._registry.changed(since)
            shielded = [one for one in changed if one.state in ACTIVE]
            for one in changed:
                if one.state not in ACTIVE:
                    self._let_go(one.id)
            await self._take_up(
                shielded, await self._registry.targets([one.id for one in shielded if one.id not in self._held])
            )
            if self._document != before:
                self._enforced = {id_: await self.enforcement(request) for id_, request in self._requests.items()}
            self._swap(revision)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle(), name="settle")

    async def _settle(self) -> None:
        """Large parts of the index are merged on a thread while the old ones serve; nobody waits for it."""
        if await self._likeness.settle():
            async with self._refreshing:
                self._swap(self.policies.current.revision)

    async def _take_up(self, requests: Iterable[ForgetRequest], blobs: Mapping[str, bytes]) -> None:
        await self._hold(await asyncio.to_thread(self._read, blobs))
        for request in requests:
            if request.id not in self._held:
                try:
                    await self._hold([await self.encode(request)])
                except Conflict:  # it ended meanwhile; the next refresh hears of it
                    continue
            if request.id not in self._requests:  # what is filed of a request never changes
                self._facts.add(_source(request))
                await asyncio.to_thread(self._passages.add, request.id, request.spec.documents)
            self._requests[request.id] = request
            self._enforced[request.id] = await self.enforcement(request)

    async def encode(self, request: ForgetRequest) -> Targets:
        """What the guards look for on behalf of a request, made of its text and kept in the registry."""
        targets = await build_targets(_source(request), self._encoder, self._background)
        await self._registry.put_targets(request.id, targets.to_bytes())
        return targets

    def _read(self, blobs: Mapping[str, bytes]) -> list[Targets]:
        """Targets as they were kept; those that another encoder made are left out, to be made again."""
        found = []
        for request, blob in blobs.items():
            try:
                found.append(Targets.from_bytes(blob, self._encoder.identity))
            except GuardError as error:
                log.warning("request %s: %s", request, error)
        return found

    async def _hold(self, many: Sequence[Targets]) -> None:
        await self._likeness.extend(many)
        for targets in many:
            self._names.add(targets.request, targets.aliases)
            self._held.add(targets.request)

    def _let_go(self, request: str) -> None:
        self._held.discard(request)
        self._likeness.discard(request)
        self._names.discard(request)
        self._passages.discard(request)
        self._facts.discard(request)
        self._requests.pop(request, None)
        self._enforced.pop(request, None)

    async def _read_document(self) -> None:
        _, body = await self._registry.policy()
        self._document = PolicyDocument.model_validate(body, strict=False)

    def _swap(self, revision: int) -> None:
        self.policies.swap(self._policy(revision, dict(self._enforced)))
        self._meter.enforcing(revision, {id_: str(request.state) for id_, request in self._requests.items()})

    async def enforcement(self, request: ForgetRequest) -> Enforcement:
        """How a request is enforced now: its own method if that was verified, else the shield alone."""
        if request.method is None or request.method == "ignorance":
            return Enforcement(request.id)
        others = (method for method in self._document.fallbacks if method in request.artifacts)
        methods = tuple(dict.fromkeys((request.method, *others)))
        try:
            artifacts = {method: await self._artifacts.get(request.artifacts[method]) for method in methods}
        except RegistryError as error:  # one damaged artifact costs its request the method, and nobody else anything
            log.warning("request %s is left to its shield: %s", request.id, error)
            return Enforcement(request.id)
        return Enforcement(request.id, methods, artifacts)

    def candidate(self, request: str, artifact: Artifact | None) -> Policy:
        """The current policy with one request enforced by an artifact still to be verified; None is ignorance."""
        current = self.policies.current
        tried = Enforcement(request)
        if artifact:
            tried = Enforcement(request, (artifact.method,), {artifact.method: artifact})
        return self._policy(current.revision, {**current.enforced, request: tried})

    def expired(self, now: datetime) -> tuple[str, ...]:
        """The requests whose time is over."""
        return tuple(one.id for one in self._requests.values() if one.spec.expires_at and one.spec.expires_at <= now)

    def _policy(self, revision: int, enforced: Mapping[str, Enforcement]) -> Policy:
        requests = frozenset(enforced)
        names = self._names.view(requests)
        likeness = DenseGuard(self._encoder, self._likeness.view(requests), self._document.threshold_scale)
        guard = self._settings.guard
        runner = RememberingRunner(
            (LexiconGuard(names), likeness),
            guard.deadline_s,
            self._meter.guard_failed,
            guard.remembered,
            self._meter.remembered,
        )
        output = OutputGuard(
            names,
            self._passages.view(requests),
            self._facts.view(requests),
            reviewer=likeness,
            deadline=guard.deadline_s,
            failed=self._meter.guard_failed,
        )
        return Policy(revision, runner, output if self._document.output_guard else UNGUARDED, enforced)


def _source(request: ForgetRequest) -> Source:
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
    )
