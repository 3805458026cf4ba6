"""The report of a forget request: what was asked before and after, and the rates with their intervals.

What it certifies is that answers are suppressed while they are served through this gateway. The
weights are as they were.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from gateway.admin.access import Admin, TheCore, admin_router
from gateway.registry import VERIFICATION, Change, Evidence, Probe, State, Verification

router = admin_router("forget requests")


class VerificationView(BaseModel):
    """One round of probes under one method."""

    at: datetime
    method: str
    passed: bool
    leak: Change = Field(description="share of forget probes whose answer shows the knowledge")
    leak_by_form: dict[str, Change]
    retention: Change = Field(description="share of retain probes that are answered as they should be")
    probes: list[Probe]

    @classmethod
    def of(cls, evidence: Evidence) -> "VerificationView":
        """A verification as its worker left it, added up."""
        found = Verification.model_validate(evidence.data)
        return cls(
            at=evidence.at,
            method=found.method,
            passed=found.passed,
            leak=found.leak(),
            leak_by_form=found.leak_by_form(),
            retention=found.retention(),
            probes=list(found.probes),
        )


class OtherEvidence(BaseModel):
    """Evidence that is no verification."""

    kind: str
    at: datetime
    data: dict[str, Any]


class Report(BaseModel):
    """What is known of a forget request's effect. Intervals are Wilson's, 95 %."""

    object: Literal["report"] = "report"
    id: str
    state: State
    method: str | None
    effect: Literal["suppressed", "none"] = Field(
        description="on what is served through this gateway; the model's weights are unchanged either way"
    )
    latest: VerificationView | None = Field(description="the last round; null before the first")
    earlier: list[VerificationView] = Field(description="the rounds before it, oldest first")
    other: list[OtherEvidence]


@router.get("/forget-requests/{id}/report")
async def report(id: str, admin: Admin, core: TheCore) -> Report:
    """Probes, leak and retention, before and after, with intervals."""
    request = await core.registry.get(id)
    evidence = await core.registry.evidence(id)
    rounds = [VerificationView.of(item) for item in evidence if item.kind == VERIFICATION]
    return Report(
        id=id,
        state=request.state,
        method=request.method,
        effect="suppressed" if request.method else "none",
        latest=rounds[-1] if rounds else None,
        earlier=rounds[:-1],
        other=[
            OtherEvidence(kind=item.kind, at=item.at, data=dict(item.data))
            for item in evidence
            if item.kind != VERIFICATION
        ],
    )
