"""The policy document: read it with its version, replace it where nobody was faster, go back to an older one."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.access import Admin, Number, TheCore, admin_router, number_of
from gateway.core import Core
from gateway.errors import ApiError
from gateway.registry import PolicyDocument

router = admin_router("policy")

IfMatch = Annotated[str | None, Header(description="the ETag of the version that is to be replaced, or *")]


class PreconditionRequired(ApiError):
    """`If-Match` is needed, so that nobody's change is overwritten unseen."""

    status, type, code = 428, "invalid_request_error", "precondition_required"


class Ordinary(BaseModel):
    """What all forget requests in force make of the ordinary prompts that are shipped."""

    prompts: int
    touched: int = Field(description="by any request, by name or by likeness, under this document's scale")
    upper: float = Field(description="bound of the share of such prompts: Clopper-Pearson, one-sided, 95 %")


class PolicyView(BaseModel):
    """The document in force."""

    object: Literal["policy"] = "policy"
    version: int = Field(description="0 until one is put")
    policy: PolicyDocument
    false_positives: Ordinary


class PolicyVersionView(BaseModel):
    """One version of the document."""

    object: Literal["policy"] = "policy"
    version: int
    policy: PolicyDocument
    at: datetime
    actor: str


class PolicyVersionList(BaseModel):
    """One page, newest first."""

    object: Literal["list"] = "list"
    data: list[PolicyVersionView]
    next_cursor: int | None = Field(description="`before` of the following page; null on the last")


class Rollback(BaseModel):
    """Which version to go back to."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, lt=2**63)


@router.get("/policy")
async def policy(response: Response, admin: Admin, core: TheCore) -> PolicyView:
    """The policy document in force; its version is the ETag."""
    return await _view(response, core)


@router.put("/policy")
async def put(
    body: PolicyDocument, response: Response, admin: Admin, core: TheCore, if_match: IfMatch = None
) -> PolicyView:
    """Replace the policy document; requests that come after this see the new one."""
    expected = _expected(if_match)
    await core.registry.put_policy(body.model_dump(mode="json"), if_match=expected, actor=admin.name)
    await core.enforcer.refresh()
    return await _view(response, core)


@router.get("/policy/versions")
async def versions(
    admin: Admin,
    core: TheCore,
    before: Number | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> PolicyVersionList:
    """Every version there was, newest first."""
    found = await core.registry.policy_history(before, limit + 1)
    views = [
        PolicyVersionView(
            version=item.version, policy=PolicyDocument.model_validate(item.body), at=item.at, actor=item.actor
        )
        for item in found[:limit]
    ]
    return PolicyVersionList(data=views, next_cursor=views[-1].version if len(found) > limit else None)


@router.post("/policy/rollback")
async def rollback(
    body: Rollback, response: Response, admin: Admin, core: TheCore, if_match: IfMatch = None
) -> PolicyView:
    """Put an older version in force again, as a new one."""
    await core.registry.rollback_policy(body.version, if_match=_expected(if_match), actor=admin.name)
    await core.enforcer.refresh()
    return await _view(response, core)


async def _view(response: Response, core: Core) -> PolicyView:
    version, body = await core.registry.policy()
    response.headers["etag"] = f'"{version}"'
    found = await core.enforcer.false_positives()
    return PolicyView(
        version=version,
        policy=PolicyDocument.model_validate(body),
        false_positives=Ordinary(prompts=found.prompts, touched=found.touched, upper=found.upper),
    )


def _expected(if_match: str | None) -> int | None:
    if if_match is None:
        raise PreconditionRequired("Send If-Match with the version that you replace.", param="If-Match")
    return None if if_match.strip() == "*" else number_of("If-Match", if_match)
