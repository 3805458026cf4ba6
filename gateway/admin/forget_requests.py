"""Forget requests as resources: file, list, look at, and the moves a person may make."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Header, Query, Response, status
from pydantic import BaseModel, Field

from gateway.admin.access import Admin, TheCore, admin_router
from gateway.core import Core
from gateway.errors import Invalid
from gateway.registry import ForgetRequest, ForgetSpec, State
from gateway.registry.spec import Method, Scope

router = admin_router("forget requests")

_PATH = "/admin/v1/forget-requests"
_KEY_LENGTH = 255


class Links(BaseModel):
    """Where to go from here."""

    self: str
    events: str
    report: str
    verify: str
    retire: str
    rollback: str


class ActivityView(BaseModel):
    """Prompts that this process has classified; it begins anew with the process, and verification does not count."""

    touched: int = Field(description="prompts that touched the request")
    near: int = Field(description="prompts that came close: their answers were read")
    since: datetime


class ForgetRequestView(BaseModel):
    """A forget request as it stands."""

    object: Literal["forget_request"] = "forget_request"
    id: str
    scope: Scope
    subject: str | None
    reference: str | None
    state: State
    method: str | None = Field(description="what enforces it now; null before the shield and after the end")
    requested_method: Method
    warnings: list[str]
    thresholds: dict[str, Any] = Field(description="what calibration set, by guard")
    evidence: dict[str, Any] = Field(description="summary of the last verification; all of it is in the report")
    artifacts: dict[str, str] = Field(description="digest of each artifact, by method")
    counts: dict[str, int] = Field(description="how many aliases, facts, documents, examples and retain prompts it has")
    activity: ActivityView
    attempts: int = Field(description="how often a worker took it up")
    error: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    revision: int = Field(description="the registry's revision when it last changed")
    links: Links

    @classmethod
    def of(cls, request: ForgetRequest, core: Core) -> "ForgetRequestView":
        """What the admin scope sees of a request."""
        spec, at = request.spec, f"{_PATH}/{request.id}"
        seen, since = core.meter.activity(request.id), max(core.meter.since, request.created_at)
        return cls(
            id=request.id,
            scope=spec.scope,
            subject=spec.subject,
            reference=spec.reference,
            state=request.state,
            method=request.method,
            requested_method=spec.method,
            warnings=list(request.warnings),
            thresholds=dict(request.thresholds),
            evidence=dict(request.evidence),
            artifacts=dict(request.artifacts),
            counts={name: len(getattr(spec, name)) for name in ("aliases", "facts", "documents", "examples", "retain")},
            activity=ActivityView(touched=seen.touched, near=seen.near, since=since),
            attempts=request.attempts,
            error=request.error,
            created_at=request.created_at,
            updated_at=request.updated_at,
            expires_at=spec.expires_at,
            revision=request.revision,
            links=Links(
                self=at,
                **{name: f"{at}/{name}" for name in ("events", "report", "verify", "retire", "rollback")},
            ),
        )


class ForgetRequestList(BaseModel):
    """One page, newest first."""

    object: Literal["list"] = "list"
    data: list[ForgetRequestView]
    next_cursor: str | None = Field(description="for the following page; null on the last")


@router.post("/forget-requests", status_code=status.HTTP_202_ACCEPTED)
async def file(
    spec: ForgetSpec,
    response: Response,
    admin: Admin,
    core: TheCore,
    idempotency_key: Annotated[str | None, Header(description=f"up to {_KEY_LENGTH} characters")] = None,
) -> ForgetRequestView:
    """File a forget request. It is shielded when this returns; learning goes on behind it."""
    if idempotency_key is not None and not 0 < len(idempotency_key) <= _KEY_LENGTH:
        raise Invalid(f"Idempotency-Key must have 1 to {_KEY_LENGTH} characters.", param="Idempotency-Key")
    request, created = await core.lifecycle.file(spec, key=idempotency_key, actor=admin.name)
    response.headers["location"] = f"{_PATH}/{request.id}"
    if not created:
        response.headers["idempotent-replayed"] = "true"
    return ForgetRequestView.of(request, core)


@router.get("/forget-requests")
async def listed(
    admin: Admin,
    core: TheCore,
    state: State | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ForgetRequestList:
    """List forget requests, newest first."""
    page = await core.registry.page(state, cursor, limit)
    return ForgetRequestList(
        data=[ForgetRequestView.of(request, core) for request in page.items], next_cursor=page.next
    )


@router.get("/forget-requests/{id}")
async def one(id: str, admin: Admin, core: TheCore) -> ForgetRequestView:
    """One forget request."""
    return ForgetRequestView.of(await core.registry.get(id), core)


@router.post("/forget-requests/{id}/verify")
async def verify(id: str, admin: Admin, core: TheCore) -> ForgetRequestView:
    """Verify again; where it had failed, learn again first."""
    return ForgetRequestView.of(await core.lifecycle.verify(id, actor=admin.name), core)


@router.post("/forget-requests/{id}/retire")
async def retire(id: str, admin: Admin, core: TheCore) -> ForgetRequestView:
    """End a request that has served; the gateway is then as if it had never had it."""
    return ForgetRequestView.of(await core.lifecycle.retire(id, actor=admin.name), core)


@router.post("/forget-requests/{id}/rollback")
async def rollback(id: str, admin: Admin, core: TheCore) -> ForgetRequestView:
    """Take back a request that should not have been made; likewise."""
    return ForgetRequestView.of(await core.lifecycle.rollback(id, actor=admin.name), core)
