"""The audit log: who did what, and whether the log is whole."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from gateway.admin.access import Admin, Number, TheCore, admin_router

router = admin_router("audit")


class AuditView(BaseModel):
    """One entry."""

    seq: int
    at: datetime
    actor: str
    action: str
    object: str
    detail: dict[str, Any]


class AuditList(BaseModel):
    """One page, newest first."""

    object: Literal["list"] = "list"
    data: list[AuditView]
    next_cursor: int | None = Field(description="for the following page; null on the last")


class AuditCheck(BaseModel):
    """Whether every entry holds."""

    intact: bool
    broken_at: int | None = Field(description="number of the first entry that was altered or is missing")


@router.get("/audit")
async def audit(
    admin: Admin,
    core: TheCore,
    cursor: Number | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditList:
    """Who did what, newest first."""
    found = await core.registry.audits(cursor, limit + 1)
    data = [
        AuditView(
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            object=entry.object,
            detail=dict(entry.detail),
        )
        for entry in found[:limit]
    ]
    return AuditList(data=data, next_cursor=data[-1].seq if len(found) > limit else None)


@router.get("/audit/verify")
async def verify(admin: Admin, core: TheCore) -> AuditCheck:
    """Recompute the chain from the first entry on."""
    broken = await core.registry.verify_audit()
    return AuditCheck(intact=broken is None, broken_at=broken)
