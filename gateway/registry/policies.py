"""The policy document: what an operator may turn, in numbered versions that are never changed."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import NotFound, PreconditionFailed
from gateway.registry.records import Json, PolicyVersion
from gateway.registry.spec import Method
from gateway.registry.tables import policies
from gateway.registry.vault import Vault


class PolicyDocument(BaseModel):
    """What an operator may turn. Version 0 is these defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    threshold_scale: float = Field(
        1.0, ge=0.5, le=1.5, description="multiplies every calibrated threshold; below 1 more prompts count as touched"
    )
    fallbacks: tuple[Method, ...] = Field(
        ("eco", "uld", "o3"),
        max_length=4,
        description="what to try, in order, where a request's own method cannot be honoured; `ignorance` comes last",
    )
    output_guard: bool = Field(True, description="whether answers are read before they leave")
    consolidation: Literal["off", "duplicates", "clusters"] = Field(
        "off",
        description="what shares one LoRA of method o3, verified anew: near-duplicate requests, or related ones too",
    )


async def latest(connection: AsyncConnection, vault: Vault) -> tuple[int, Json]:
    """Number and body of the version in force; 0 and the defaults when none was put."""
    row = (await connection.execute(select(policies).order_by(policies.c.version.desc()).limit(1))).one_or_none()
    if row is None:
        return 0, PolicyDocument().model_dump(mode="json")
    version = _version(vault, row)
    return version.version, version.body


async def one(connection: AsyncConnection, vault: Vault, version: int) -> PolicyVersion:
    """A version by number.

    Raises:
        NotFound: there is none.
    """
    row = (await connection.execute(select(policies).where(policies.c.version == version))).one_or_none()
    if row is None:
        raise NotFound("No such policy version.", param="version")
    return _version(vault, row)


async def history(
    connection: AsyncConnection, vault: Vault, before: int | None, limit: int
) -> tuple[PolicyVersion, ...]:
    """Versions, newest first, older than `before`."""
    query = select(policies).order_by(policies.c.version.desc()).limit(limit)
    if before is not None:
        query = query.where(policies.c.version < before)
    return tuple(_version(vault, row) for row in await connection.execute(query))


async def put(
    connection: AsyncConnection, vault: Vault, at: datetime, actor: str, body: Json, if_match: int | None
) -> int:
    """A new version, in force from now on; its number.

    Raises:
        PreconditionFailed: the version in force is not `if_match` (None: whatever it is).
    """
    current, _ = await latest(connection, vault)
    if if_match is not None and if_match != current:
        raise PreconditionFailed(f"The policy is at version {current}.", param="If-Match")
    row = {"version": current + 1, "at": at, "actor": actor, "body": vault.seal_json(body, _place(current + 1))}
    await connection.execute(insert(policies).values(**row))
    return current + 1


def _version(vault: Vault, row: Row[Any]) -> PolicyVersion:
    return PolicyVersion(row.version, row.at, row.actor, vault.unseal_json(row.body, _place(row.version)))


def _place(version: int) -> str:
    return f"policy {version}"
