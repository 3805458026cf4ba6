"""The registry: forget requests and all that belongs to them, in one database.

Every change is one transaction that carries the change, its event, its audit entry and a new
revision, or nothing. Readers see one consistent view.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Conflict, Invalid
from gateway.registry import audit, policies, queue, rows, tables
from gateway.registry.database import Database
from gateway.registry.records import AuditEntry, Changes, Event, Evidence, ForgetRequest, Json, Page, PolicyVersion
from gateway.registry.spec import ForgetSpec
from gateway.registry.states import ACTIVE, MOVES, TERMINAL, WORK, State
from gateway.registry.vault import Vault

P = ParamSpec("P")
T = TypeVar("T")

_ID = re.compile(r"fr_[0-9a-hjkmnp-tv-z]{26}")
_COLUMNS = frozenset({"method", "attempts"})  # the changes that are columns; the others are sealed together


def _now() -> datetime:
    return datetime.now(UTC)


def _whole(
    method: Callable[Concatenate["Registry", P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Registry", P], Coroutine[Any, Any, T]]:
    """Once begun, the method ends, whether its caller waits or not."""

    @wraps(method)
    async def whole(self: "Registry", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.finish(method(self, *args, **kwargs))

    return whole


class Registry:
    """Forget requests, their events, targets and evidence; policy versions; the audit log.

    Raises, from any method: `RegistryError` when the database does not answer, and `NotFound` for
    an id that is not there.
    """

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], datetime] = _now) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    @classmethod
    async def open(cls, url: str, vault: Vault, *, busy_s: float = 5.0, clock: Callable[[], datetime] = _now) -> Self:
        """Connect, migrate, and make sure of the key.

        Raises:
            RegistryError: the database cannot be used, or was written with another key.
        """
        database = await Database.open(url, busy_s)
        try:
            async with database.writing() as connection:
                await rows.check_key(connection, vault)
        except BaseException:
            await database.close()
            raise
        return cls(database, vault, clock)

    async def close(self) -> None:
        """Give the database back. No method may be called after it."""
        await self._database.close()

    @_whole
    async def create(
        self, spec: ForgetSpec, *, idempotency_key: str | None, actor: str, warnings: Sequence[str] = ()
    ) -> tuple[ForgetRequest, bool]:
        """A new request in state `received`, and True; or the one this key made before, and False.

        Raises:
            Conflict: the key was used for another body, or a request for the same thing is not yet over.
        """
        stored = spec.stored()
        body = self._vault.fingerprint(stored, "body")
        fingerprint = self._vault.fingerprint(spec.identity(), "identity")
        key = idempotency_key and self._vault.fingerprint(f"{actor}\0{idempotency_key}".encode(), "idempotency")
        at = self._clock()
        async with self._database.writing() as connection:
            if key:
                query = select(tables.requests).where(tables.requests.c.idempotency == key)
                if found := (await connection.execute(query)).one_or_none():
                    if found.body != body:
                        raise Conflict("This key was used for another body.", param="Idempotency-Key")
                    return self._request(found), False
            await rows.no_duplicate(connection, fingerprint)
            id = rows.new_id(at)
            await connection.execute(
                insert(tables.requests).values(
                    id=id,
                    state=State.RECEIVED,
                    fingerprint=fingerprint,
                    idempotency=key,
                    body=body,
                    created_at=at,
                    updated_at=at,
                    revision=await rows.bump(connection),
                    attempts=0,
                    spec=self._vault.seal(stored, f"spec {id}"),
                    detail=self._vault.seal_json(_detail(tuple(warnings)), f"detail {id}"),
                )
            )
            await self._tell(connection, id, at, actor, "created", {"to": State.RECEIVED})
            return self._request(await rows.find(connection, id)), True

    @_whole
    async def get(self, id: str) -> ForgetRequest:
        """One request."""
        async with self._database.reading() as connection:
            return self._request(await rows.find(connection, id))

    @_whole
    async def page(self, state: State | None = None, cursor: str | None = None, limit: int = 50) -> Page:
        """Requests, newest first, those in `state` where one is given.

        Raises:
            Invalid: the cursor is none of ours.
        """
        table = tables.requests
        query = select(table).order_by(table.c.id.desc()).limit(limit + 1)
        if state is not None:
            query = query.where(table.c.state == state)
        if cursor is not None:
            if not _ID.fullmatch(cursor):
                raise Invalid("cursor must be one that a list gave.", param="cursor")
            query = query.where(table.c.id < cursor)
        found = await self._requests(query)
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    @_whole
    async def active(self) -> tuple[ForgetRequest, ...]:
        """Every request that shields or enforces, oldest first."""
        return await self._requests(select(tables.requests).where(tables.requests.c.state.in_(ACTIVE)))

    @_whole
    async def changed(self, since: int) -> tuple[ForgetRequest, ...]:
        """Every request, over ones too, that changed after this revision, oldest first."""
        return await self._requests(select(tables.requests).where(tables.requests.c.revision > since))

    @_whole
    async def revision(self) -> int:
        """Counts every change that could matter to the policy. Cheap."""
        async with self._database.reading() as connection:
            return int((await connection.execute(select(tables.registry.c.revision))).scalar_one())

    @_whole
    async def move(
        self,
        id: str,
        to: State,
        *,
        actor: str,
        expect: Collection[State] | None = None,
        **changes: Unpack[Changes],
    ) -> ForgetRequest:
        """The request in its new state. Once it is over, its targets are deleted.

        Raises:
            Conflict: it is in no state that allows the move, or in none of `expect`.
        """
        return await self._change(id, to, actor, expect, changes)

    @_whole
    async def update(
        self, id: str, *, actor: str, expect: Collection[State] | None = None, **changes: Unpack[Changes]
    ) -> ForgetRequest:
        """The request with these changes, in the state it was in.

        Raises:
            Conflict: it is in none of the states of `expect`.
        """
        return await self._change(id, None, actor, expect, changes)

    @_whole
    async def note(self, id: str, kind: str, data: Json, *, actor: str = "lethe") -> None:
        """An event, such as progress. Changes nothing that the policy is made of."""
        at = self._clock()
        async with self._database.writing() as connection:
            await rows.find(connection, id)
            await self._event(connection, id, at, actor, kind, data)

    @_whole
    async def events(self, id: str, after: int = 0, limit: int = 1_000) -> tuple[Event, ...]:
        """What happened to a request after event number `after`, oldest first."""
        table = tables.events
        async with self._database.reading() as connection:
            query = select(table).where(table.c.request == id, table.c.seq > after).order_by(table.c.seq).limit(limit)
            found = (await connection.execute(query)).all()
            if not found:
                await rows.find(connection, id)
        return tuple(
            Event(row.seq, row.at, row.kind, row.actor, self._vault.unseal_json(row.data, f"event {id} {row.seq}"))
            for row in found
        )

    @_whole
    async def put_targets(self, id: str, blob: bytes) -> None:
        """What is searched for on behalf of a request; replaces what was there.

        Raises:
            Conflict: the request is over.
        """
        at = self._clock()
        table = tables.targets
        sealed = await asyncio.to_thread(self._vault.seal, blob, f"targets {id}")
        async with self._database.writing() as connection:
            row = await rows.find(connection, id)
            if State(row.state) in TERMINAL:
                raise Conflict(f"{id} is {row.state}.")
            await connection.execute(delete(table).where(table.c.request == id))
            await connection.execute(insert(table).values(request=id, blob=sealed))
            await rows.touch(connection, id, at)

    @_whole
    async def targets(self, ids: Collection[str] | None = None) -> dict[str, bytes]:
        """The targets of these requests, or of all, by id; those without any are left out."""
        query = select(tables.targets)
        if ids is not None:
            query = query.where(tables.targets.c.request.in_(ids))
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
        return await asyncio.to_thread(
            lambda: {row.request: self._vault.unseal(row.blob, f"targets {row.request}") for row in found}
        )

    @_whole
    async def put_evidence(self, id: str, kind: str, data: Json) -> None:
        """One more piece of evidence, such as a `Verification`; earlier ones stay."""
        at = self._clock()
        table = tables.evidence
        async with self._database.writing() as connection:
            await rows.find(connection, id)
            seq = await rows.following(connection, table.c.seq, table.c.request == id)
            sealed = self._vault.seal_json(data, f"evidence {id} {seq}")
            await connection.execute(insert(table).values(request=id, seq=seq, at=at, kind=kind, data=sealed))

    @_whole
    async def evidence(self, id: str) -> tuple[Evidence, ...]:
        """All evidence of a request, oldest first."""
        table = tables.evidence
        async with self._database.reading() as connection:
            found = (await connection.execute(select(table).where(table.c.request == id).order_by(table.c.seq))).all()
            if not found:
                await rows.find(connection, id)
        return tuple(
            Evidence(row.kind, row.at, self._vault.unseal_json(row.data, f"evidence {id} {row.seq}")) for row in found
        )

    @_whole
    async def evidence_of(self, kind: str) -> tuple[tuple[str, Evidence], ...]:
        """All evidence of one kind, with the request it is of, oldest first."""
        table = tables.evidence
        query = select(table).where(table.c.kind == kind).order_by(table.c.at, table.c.request, table.c.seq)
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
        return await asyncio.to_thread(
            lambda: tuple(
                (
                    row.request,
                    Evidence(kind, row.at, self._vault.unseal_json(row.data, f"evidence {row.request} {row.seq}")),
                )
                for row in found
            )
        )

    @_whole
    async def claim(self, worker: str, lease_s: float) -> ForgetRequest | None:
        """The next request to learn or verify, leased to `worker`; its attempts are counted here.

        That is one in `shielded`, `learning` or `verifying` which no worker has, or whose worker let
        its lease run out.
        """
        now = self._clock()
        async with self._database.writing() as connection:
            id = await queue.claim(connection, worker, now, now + timedelta(seconds=lease_s))
            return None if id is None else self._request(await rows.find(connection, id))

    @_whole
    async def waiting(self) -> bool:
        """Whether `claim` would find one. Cheap."""
        async with self._database.reading() as connection:
            return await queue.first(connection, self._clock()) is not None

    @_whole
    async def renew(self, id: str, worker: str, lease_s: float) -> None:
        """Keep a claim.

        Raises:
            Conflict: it is lost: the lease ran out and another took it, or the request was retired.
        """
        until = self._clock() + timedelta(seconds=lease_s)
        async with self._database.writing() as connection:
            await queue.renew(connection, id, worker, until)

    @_whole
    async def release(self, id: str, worker: str, *, tried: bool = True) -> None:
        """Give a claim up; nothing happens when it is lost already. What was not `tried` was no attempt."""
        async with self._database.writing() as connection:
            await queue.release(connection, worker, id, tried=tried)

    @_whole
    async def abandon(self, worker: str) -> None:
        """Free everything that this worker holds: it is known to be gone, so nobody waits for its leases."""
        async with self._database.writing() as connection:
            await queue.release(connection, worker)

    @_whole
    async def policy(self) -> tuple[int, Json]:
        """Number and body of the policy document in force; 0 and the defaults when none was put."""
        async with self._database.reading() as connection:
            return await policies.latest(connection, self._vault)

    @_whole
    async def policy_version(self, version: int) -> PolicyVersion:
        """One version of the policy document."""
        async with self._database.reading() as connection:
            return await policies.one(connection, self._vault, version)

    @_whole
    async def policy_history(self, before: int | None = None, limit: int = 50) -> tuple[PolicyVersion, ...]:
        """Versions of the policy document, newest first."""
        async with self._database.reading() as connection:
            return await policies.history(connection, self._vault, before, limit)

    @_whole
    async def put_policy(self, body: Json, *, if_match: int | None, actor: str) -> int:
        """A new policy document; its version.

        Raises:
            PreconditionFailed: the version in force is not `if_match` (None: whatever it is).
        """
        at = self._clock()
        async with self._database.writing() as connection:
            version = await policies.put(connection, self._vault, at, actor, body, if_match)
            await rows.bump(connection)
            await audit.append(connection, self._vault, at, actor, "policy.put", f"policy/{version}", {"body": body})
            return version

    async def rollback_policy(self, version: int, *, if_match: int | None, actor: str) -> int:
        """The body of an older version, as a new one; the new number.

        Raises:
            PreconditionFailed: as `put_policy`.
        """
        body = (await self.policy_version(version)).body
        return await self.put_policy(body, if_match=if_match, actor=actor)

    @_whole
    async def audit(self, actor: str, action: str, object: str, detail: Json) -> None:
        """One more entry of the audit log. Changes made through the registry have theirs already."""
        at = self._clock()
        async with self._database.writing() as connection:
            await audit.append(connection, self._vault, at, actor, action, object, detail)

    @_whole
    async def audits(self, cursor: int | None = None, limit: int = 50) -> tuple[AuditEntry, ...]:
        """Entries of the audit log, newest first, older than number `cursor`."""
        async with self._database.reading() as connection:
            return await audit.page(connection, self._vault, cursor, limit)

    @_whole
    async def verify_audit(self) -> int | None:
        """The number of the first audit entry that was altered or is missing; None when all hold."""
        async with self._database.reading() as connection:
            return await audit.verify(connection, self._vault)

    async def _change(
        self, id: str, to: State | None, actor: str, expect: Collection[State] | None, changes: Changes
    ) -> ForgetRequest:
        at = self._clock()
        async with self._database.writing() as connection:
            row = await rows.find(connection, id)
            state = State(row.state)
            if expect is not None and state not in expect:
                raise Conflict(f"{id} is {state}, not {' or '.join(sorted(expect))}.")
            if to is not None and to not in MOVES[state]:
                raise Conflict(f"{id} is {state}; it cannot become {to}.")
            detail = self._vault.unseal_json(row.detail, f"detail {id}")
            detail |= {name: value for name, value in changes.items() if name not in _COLUMNS}
            values: dict[str, Any] = {name: value for name, value in changes.items() if name in _COLUMNS}
            values["detail"] = self._vault.seal_json(detail, f"detail {id}")
            if to is not None:
                values["state"] = to
                if not {state, to} <= WORK:
                    values |= {"worker": None, "leased_until": None}
                if state is State.RECEIVED and to is State.ROLLED_BACK:  # undone: the same call may come again
                    values["idempotency"] = None
                if to in TERMINAL:
                    await connection.execute(delete(tables.targets).where(tables.targets.c.request == id))
            await rows.touch(connection, id, at, **values)
            moved = {"from": state, "to": to} if to else {}
            data = {**moved, "changed": sorted(changes)}
            await self._tell(connection, id, at, actor, to or "updated", data)
            return self._request(await rows.find(connection, id))

    async def _tell(
        self, connection: AsyncConnection, id: str, at: datetime, actor: str, what: str, data: Json
    ) -> None:
        await self._event(connection, id, at, actor, what, data)
        await audit.append(connection, self._vault, at, actor, f"forget_request.{what}", id, data)

    async def _event(
        self, connection: AsyncConnection, id: str, at: datetime, actor: str, kind: str, data: Json
    ) -> None:
        table = tables.events
        seq = await rows.following(connection, table.c.seq, table.c.request == id)
        sealed = self._vault.seal_json(data, f"event {id} {seq}")
        await connection.execute(insert(table).values(request=id, seq=seq, at=at, kind=kind, actor=actor, data=sealed))

    async def _requests(self, query: Any) -> tuple[ForgetRequest, ...]:
        async with self._database.reading() as connection:
            found = (await connection.execute(query)).all()
        return await asyncio.to_thread(lambda: tuple(self._request(row) for row in found))

    def _request(self, row: Row[Any]) -> ForgetRequest:
        detail = self._vault.unseal_json(row.detail, f"detail {row.id}")
        return ForgetRequest(
            id=row.id,
            spec=ForgetSpec.restored(self._vault.unseal(row.spec, f"spec {row.id}")),
            state=State(row.state),
            method=row.method,
            created_at=row.created_at,
            updated_at=row.updated_at,
            revision=row.revision,
            attempts=row.attempts,
            **{**detail, "warnings": tuple(detail["warnings"])},
        )


def _detail(warnings: tuple[str, ...]) -> dict[str, Any]:
    return {"warnings": warnings, "thresholds": {}, "evidence": {}, "artifacts": {}, "error": None}
