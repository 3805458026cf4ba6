"""From the registry to the policy: what is at rest becomes what is enforced, swapped whole."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from adapters.base import Artifact
from adapters.router import Enforcement
from gateway.errors import Conflict
from gateway.jobs.family import FalsePositives, false_positives
from gateway.jobs.targets import Held, TargetStore, artifact_of, source_of
from gateway.policy import Policies, Policy
from gateway.registry import ACTIVE, Artifacts, ForgetRequest, PolicyDocument, Registry, RegistryError
from gateway.settings import Settings
from gateway.telemetry import Meter
from guards.base import LetheError
from guards.dense import DenseGuard
from guards.encoder import Encoder
from guards.index import TargetIndex
from guards.lexicon import AT_ONCE, LexiconGuard, LexiconIndex
from guards.output import UNGUARDED, OutputGuard
from guards.recent import RememberingRunner
from guards.slots import Facts
from guards.targets import Background
from guards.verbatim import Passages

log = logging.getLogger("lethe.enforce")

_READY_S = 0.5  # a shield that is raised in the same breath waits no longer


class Enforcer:
    """Builds policies. One index holds the targets of all requests; each policy sees its own of them.

    `prepare` is told what a request is newly enforced by, before any policy says so.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        artifacts: Artifacts,
        encoder: Encoder,
        background: Background,
        meter: Meter,
        prepare: Callable[[Enforcement], Awaitable[None]] | None = None,
    ) -> None:
        self._prepare = prepare
        self._settings = settings
        self._registry = registry
        self._artifacts = artifacts
        self._encoder = encoder
        self._meter = meter
        self.targets = TargetStore(registry, artifacts, encoder, background)
        self._held: dict[str, Held] = {}  # what is in the indexes, by request
        self._requests: dict[str, ForgetRequest] = {}
        self._enforced: dict[str, Enforcement] = {}
        self._likeness = TargetIndex(background)
        self._names = LexiconIndex(AT_ONCE)
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
            await self._take_up(await self._registry.active())
            self._swap(revision)

    async def refresh(self) -> None:
        """The policy of the registry's present revision becomes the current one; costs what has changed."""
        async with self._refreshing:
            since = self.policies.current.revision
            revision = await self._registry.revision()
            if revision == since:
                return
            before = self._document
            try:
                await self._catch_up(since, before)
            except BaseException:  # the next one has to see that the document is another
                self._document = before
                raise
            self._swap(revision)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle(), name="settle")

    async def _catch_up(self, since: int, before: PolicyDocument) -> None:
        await self._read_document()
        changed = await self._registry.changed(since)
        for one in changed:
            if one.state not in ACTIVE:
                self._let_go(one.id)
        await self._take_up([one for one in changed if one.state in ACTIVE])
        await self._made_ready([one.id for one in changed])
        if self._document != before:
            self._enforced = {id_: await self.enforcement(request) for id_, request in self._requests.items()}

    async def _made_ready(self, requests: Sequence[str]) -> None:
        """What is enforced anew is there before it is asked for; what cannot be had soon is loaded when it is."""
        serving = self.policies.current.enforced
        new = [self._enforced[id_] for id_ in requests if self._enforced.get(id_) not in (None, serving.get(id_))]
        if self._prepare is None or not new:
            return
        try:
            async with asyncio.timeout(_READY_S):
                for one in new:
                    await self._prepare(one)
        except (LetheError, TimeoutError) as error:
            log.warning("what enforces a request is not ready yet: %s", type(error).__name__)

    async def _settle(self) -> None:
        """Large parts of the indexes are merged on a thread while the old ones serve; nobody waits for it."""
        try:
            if any([await self._likeness.settle(), await self._names.settle()]):
                async with self._refreshing:
                    self._swap(self.policies.current.revision)
        except Exception as error:  # the old parts serve on; its text may be of what they hold
            log.error("the indexes could not be merged: %s", type(error).__name__)

    async def _take_up(self, requests: Sequence[ForgetRequest]) -> None:
        await self._hold(await self.targets.serving([one for one in requests if not self._serves(one)]))
        for request in requests:
            if request.id not in self._held:
                try:
                    await self._hold({request.id: await self.targets.shield(request)})
                except Conflict:  # it ended meanwhile; the next refresh hears of it
                    continue
            if request.id not in self._requests:  # what is filed of a request never changes
                await self._file(request)
            self._requests[request.id] = request
            self._enforced[request.id] = await self.enforcement(request)

    async def _file(self, request: ForgetRequest) -> None:
        """Facts and passages are both filed, or neither."""
        try:
            self._facts.add(source_of(request))
            adding = asyncio.ensure_future(asyncio.to_thread(self._passages.add, request.id, request.spec.documents))
            try:
                await asyncio.shield(adding)
            finally:
                await asyncio.wait((adding,))  # a thread cannot be cancelled
        except BaseException:
            self._facts.discard(request.id)
            self._passages.discard(request.id)
            raise

    def _serves(self, request: ForgetRequest) -> bool:
        held = self._held.get(request.id)
        return held is not None and held.artifact == artifact_of(request)

    async def _hold(self, many: Mapping[str, Held]) -> None:
        """Newcomers are in both indexes, or in neither: the next refresh takes up what this one could not."""
        new = {request: held for request, held in many.items() if request not in self._held}
        try:
            await self._likeness.extend([held.targets for held in new.values()])
            await self._names.extend([(request, held.targets.aliases) for request, held in new.items()])
        except BaseException:
            for request in new:
                self._likeness.discard(request)
                self._names.discard(request)
            raise
        self._held |= new
        for request in many.keys() - new.keys():
            self._replace(request, many[request])

    def _replace(self, request: str, held: Held) -> None:
        """In one step of the event loop: no policy is built of an index without the request."""
        before, self._held[request] = self._held[request], held
        self._likeness.discard(request)
        self._likeness.add(held.targets)
        if held.targets.aliases != before.targets.aliases:
            self._names.discard(request)
            self._names.add(request, held.targets.aliases)

    def _let_go(self, request: str) -> None:
        self._held.pop(request, None)
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

    def candidate(self, request: str, artifact: Artifact | None, held: Held | None = None) -> Policy:
        """The current policy with one request enforced by an artifact still to be verified; None is ignorance.

        With `held`, it is looked for by these targets.
        """
        current = self.policies.current
        tried = Enforcement(request)
        if artifact:
            tried = Enforcement(request, (artifact.method,), {artifact.method: artifact})
        enforced = {**current.enforced, request: tried}
        if held is None or request not in self._held:
            return self._policy(current.revision, enforced)
        serving = self._held[request]
        self._replace(request, held)
        try:
            return self._policy(current.revision, enforced)
        finally:
            self._replace(request, serving)

    async def false_positives(self) -> FalsePositives:
        """What the requests in force make of ordinary prompts, together."""
        held = [self._held[request].targets for request in self._enforced]
        names = self._names.view(frozenset(self._enforced))
        return await false_positives(held, names, self._document.threshold_scale)

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
