"""The audit log: append-only, and telling when it was not.

Each entry carries a keyed hash of itself and everything before it. What is chained on is kept in the
`registry` row alone and the entries hold only a hash of it, so that without the key no entry can be
altered, dropped or added, the last included.
"""

import hmac
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.registry.records import AuditEntry, Json
from gateway.registry.tables import audits, registry
from gateway.registry.vault import Vault

_BATCH = 1_000


async def append(
    connection: AsyncConnection, vault: Vault, at: datetime, actor: str, action: str, obj: str, detail: Json
) -> None:
    """One more entry, in the transaction of what it tells."""
    last = select(func.max(audits.c.seq)).scalar_subquery()
    seq, head = (await connection.execute(select(func.coalesce(last, 0) + 1, registry.c.audit_head))).one()
    sealed = vault.seal_json(detail, _place(seq))
    head = _next(vault, head, seq, at, actor, action, obj, sealed)
    row = {"seq": seq, "at": at, "actor": actor, "action": action, "object": obj, "detail": sealed}
    await connection.execute(insert(audits).values(**row, hash=_shown(vault, head)))
    await connection.execute(update(registry).values(audit_head=head))


async def page(connection: AsyncConnection, vault: Vault, before: int | None, limit: int) -> tuple[AuditEntry, ...]:
    """Entries, newest first, older than `before`."""
    query = select(audits).order_by(audits.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audits.c.seq < before)
    return tuple(_entry(vault, row) for row in await connection.execute(query))


async def verify(connection: AsyncConnection, vault: Vault) -> int | None:
    """The number of the first entry that is altered or missing; None when all hold."""
    head, seq = start(vault), 0
    while True:
        query = select(audits).where(audits.c.seq > seq).order_by(audits.c.seq).limit(_BATCH)
        rows = (await connection.execute(query)).all()
        for row in rows:
            seq += 1
            head = _next(vault, head, row.seq, row.at, row.actor, row.action, row.object, row.detail)
            if row.seq != seq or not hmac.compare_digest(row.hash, _shown(vault, head)):
                return seq
        if len(rows) < _BATCH:
            break
    kept = await connection.scalar(select(registry.c.audit_head))
    return None if kept == head else seq + 1


def start(vault: Vault) -> str:
    """The head of an empty log: keyed, so that a log cannot be emptied without the key."""
    return vault.fingerprint(b"", "audit log")


def _next(vault: Vault, head: str, seq: int, at: datetime, actor: str, action: str, obj: str, sealed: bytes) -> str:
    entry = orjson.dumps([head, seq, at.isoformat(), actor, action, obj, sealed.hex()])
    return vault.fingerprint(entry, "audit")


def _shown(vault: Vault, head: str) -> str:
    return vault.fingerprint(head.encode(), "audit entry")


def _entry(vault: Vault, row: Row[Any]) -> AuditEntry:
    detail = vault.unseal_json(row.detail, _place(row.seq))
    return AuditEntry(row.seq, row.at, row.actor, row.action, row.object, detail)


def _place(seq: int) -> str:
    return f"audit {seq}"
