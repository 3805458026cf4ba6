"""What every change of the registry is made of: finding a row, counting a revision, naming a request."""

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Conflict, NotFound
from gateway.registry import audit, tables
from gateway.registry.errors import RegistryError
from gateway.registry.states import TERMINAL
from gateway.registry.vault import Vault

_CHECK = b"lethe registry"
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts as it counts


async def check_key(connection: AsyncConnection, vault: Vault) -> None:
    """The first vault to come leaves a value that only its key opens."""
    check = (await connection.execute(select(tables.registry.c.key_check))).scalar_one()
    if not check:
        sealed = vault.seal(_CHECK, "registry")
        await connection.execute(update(tables.registry).values(key_check=sealed, audit_head=audit.start(vault)))
        return
    try:
        vault.unseal(check, "registry")
    except RegistryError:
        raise RegistryError(
            "the registry was written with another key: set registry.key (LETHE_REGISTRY__KEY) to that key,"
            " or put its registry.key back into the state directory"
        ) from None


async def no_duplicate(connection: AsyncConnection, fingerprint: str) -> None:
    """Refuses what an unfinished request asks for already."""
    table = tables.requests
    query = select(table.c.id).where(table.c.fingerprint == fingerprint, table.c.state.not_in(TERMINAL)).limit(1)
    if found := await connection.scalar(query):
        raise Conflict(f"{found} asks for the same already; retire it first.", param="subject", code="duplicate")


async def find(connection: AsyncConnection, id: str) -> Row[Any]:
    """The row of a request, or `NotFound`."""
    row = (await connection.execute(select(tables.requests).where(tables.requests.c.id == id))).one_or_none()
    if row is None:
        raise NotFound("No such forget request.", param="id")
    return row


async def bump(connection: AsyncConnection) -> int:
    """The registry's next revision."""
    revision = tables.registry.c.revision
    next_one = update(tables.registry).values(revision=revision + 1).returning(revision)
    return int((await connection.execute(next_one)).scalar_one())


async def touch(connection: AsyncConnection, id: str, at: datetime, **values: Any) -> None:
    """Change a request, under the next revision."""
    changed = update(tables.requests).where(tables.requests.c.id == id)
    await connection.execute(changed.values(updated_at=at, revision=await bump(connection), **values))


async def following(connection: AsyncConnection, seq: ColumnElement[int], where: ColumnElement[bool]) -> int:
    """The next number of a column that counts from 1."""
    return (await connection.scalar(select(func.max(seq)).where(where)) or 0) + 1


def new_id(at: datetime) -> str:
    """26 digits as in a ULID: 48 bits of milliseconds, then 80 random ones."""
    number = int(at.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "fr_" + "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))
