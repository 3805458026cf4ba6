"""The moves a person may make: file, verify, retire, roll back. Each is in force when the call returns."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from gateway.errors import Conflict, Unavailable
from gateway.jobs.enforce import Enforcer
from gateway.jobs.probes import probes_about, too_few
from gateway.registry import ACTIVE, ForgetRequest, ForgetSpec, Registry, State
from guards.aliases import alias_warnings
from guards.base import LetheError


class Lifecycle:
    """Files requests and raises their shields; ends them; sends them back to verification.

    Args:
        patience: seconds in which a shield must be up, many times what the largest takes.
    """

    def __init__(self, registry: Registry, enforcer: Enforcer, patience: float = 60.0) -> None:
        self._registry = registry
        self._enforcer = enforcer
        self._patience = patience

    async def file(self, spec: ForgetSpec, *, key: str | None, actor: str) -> tuple[ForgetRequest, bool]:
        """A new forget request, shielded, and whether it is new: the same idempotency key finds the first one.

        Raises:
            Conflict: the same request is active, or the key was used for another body.
            Unavailable: the shield could not be raised; the request is rolled back.
        """
        warnings = tuple(warnings_of(spec))
        request, created = await self._registry.create(spec, idempotency_key=key, actor=actor, warnings=warnings)
        if request.state is State.RECEIVED:
            request = await self._shield_or_undo(request, actor)
        return request, created

    async def resume(self, before: datetime | None = None) -> None:
        """Shields that were left unraised are raised: by a crash, or, of those filed `before`, by a failing part."""
        cursor: str | None = None
        while True:
            page = await self._registry.page(State.RECEIVED, cursor)
            for request in page.items:
                if before is None or request.created_at < before:
                    with suppress(Unavailable):  # undone, or tried again later: nobody was told that it is in force
                        await self._shield_or_undo(request, "restart")
            if (cursor := page.next) is None:
                return

    async def shield(self, request: ForgetRequest, actor: str) -> ForgetRequest:
        """Aliases and embeddings searchable, the fallback adapter active: nobody waits for training."""
        held = await self._enforcer.targets.shield(request)
        try:
            shielded = await self._registry.move(
                request.id,
                State.SHIELDED,
                actor=actor,
                expect={State.RECEIVED},
                method="ignorance",
                thresholds=held.thresholds(),
                warnings=(*request.warnings, *held.targets.warnings),
            )
        except Conflict:  # the same call came twice, or another replica was first
            shielded = await self._registry.get(request.id)
            if shielded.state not in ACTIVE:
                raise
        await self._enforcer.refresh()
        return shielded

    async def verify(self, id_: str, *, actor: str) -> ForgetRequest:
        """Sends a request back to its worker: to be verified again, or to learn again where that had failed."""
        request = await self._registry.get(id_)
        to = State.VERIFYING if request.state is State.ENFORCED else State.SHIELDED
        return await self._registry.move(
            id_, to, actor=actor, expect={State.ENFORCED, State.FAILED}, attempts=0, error=None
        )

    async def retire(self, id_: str, *, actor: str) -> ForgetRequest:
        """Ends a request that has served; the gateway is then as if it had never had it."""
        return await self._end(id_, State.RETIRED, actor)

    async def rollback(self, id_: str, *, actor: str) -> ForgetRequest:
        """Takes back a request that should not have been; likewise."""
        return await self._end(id_, State.ROLLED_BACK, actor)

    async def _end(self, id_: str, state: State, actor: str) -> ForgetRequest:
        ended = await self._registry.move(id_, state, actor=actor, method=None)
        await self._enforcer.refresh()
        return ended

    async def _shield_or_undo(self, request: ForgetRequest, actor: str) -> ForgetRequest:
        try:
            async with asyncio.timeout(self._patience):  # an encoder that hangs holds up nobody
                return await self.shield(request, actor)
        except Exception as error:
            filed = "nothing is filed"
            try:
                reason = "the shield could not be raised"
                await self._registry.move(
                    request.id, State.ROLLED_BACK, actor=actor, expect={State.RECEIVED}, error=reason
                )
            except Conflict:  # raised after all, by the same call come twice or but for the last step: it stays
                filed = "the request is filed, and in force in a moment"
            if not isinstance(error, LetheError | TimeoutError):
                raise
            raise Unavailable(f"The shield could not be raised now; {filed}. Try again shortly.") from None


def warnings_of(spec: ForgetSpec) -> Iterator[str]:
    """What the admin should hear about names that say little, and where too little is filed to verify a method."""
    if spec.method not in ("auto", "ignorance") and (few := too_few(len(probes_about(spec).held_out))):
        yield f"method: {few}"
    if spec.scope == "facts" and not spec.subject:
        yield "subject: none is named, so a fact is known by its question's words alone; name it, and its aliases"
    for i, alias in enumerate(spec.aliases):
        yield from (f"aliases[{i}]: {notice.message}" for notice in alias_warnings(alias))
    if spec.subject and spec.scope == "entity":
        yield from (f"subject: {notice.message}" for notice in alias_warnings(spec.subject))
