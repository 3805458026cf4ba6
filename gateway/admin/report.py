"""The report of a forget request: what was asked before and after, and the rates with their intervals.

What it certifies is that answers are suppressed while they are served through this gateway. The
weights are as they were.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel, Field

from gateway.admin.access import Admin, TheCore, admin_router
from gateway.admin.heatmap import heatmap
from gateway.core import Core
from gateway.errors import NotFound
from gateway.registry import (
    PERSISTENCE,
    VERIFICATION,
    Change,
    Evidence,
    Matrix,
    Probe,
    Rate,
    State,
    Step,
    Verification,
)

router = admin_router("forget requests")

_STEPS = 100  # that a report shows
_DIGITS = 6  # of an id in a figure: its last, which are random


class VerificationView(BaseModel):
    """One round of probes under one method."""

    at: datetime
    method: str
    passed: bool
    leak: Change = Field(
        description="forget probes whose answer shows the knowledge: before, of all; after, of those that did before"
    )
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


class StepView(BaseModel):
    """One column: the request that was enforced, and when this was found."""

    after: str
    at: datetime


class DriftView(BaseModel):
    """Whether leak goes up as requests come, over all steps there are."""

    slope: float = Field(description="share of probes for each step, least squares, a level for each request")
    p: float = Field(description="one-sided: small where leak goes up; no distribution within a request is assumed")


class PersistenceView(BaseModel):
    """The matrix R[i][t]: leak on request i after step t, a step being a request enforced.

    Each row begins at the request's own verification. Null is where nobody asked: a bounded number of requests is
    asked again at each step.
    """

    requests: list[str] = Field(description="the rows, in the order of their first step")
    ended: list[int | None] = Field(description="for each row the column by which its request was over")
    steps: list[StepView] = Field(description="the columns, oldest first")
    leak: list[list[float | None]] = Field(description="share of the row's telling probes that show the knowledge")
    interference: list[list[float | None]] = Field(description="leak less what it was when the row was asked before")
    utility: list[Rate] = Field(description="share of other questions answered as the bare model does, by column")
    drift: DriftView | None = Field(description="null where fewer than two requests were asked twice")

    @classmethod
    def of(cls, found: Sequence[tuple[str, Evidence]], id: str) -> "PersistenceView | None":
        """The whole history and not only what came before this request, since what a reader of its report asks is
        whether it stayed forgotten: the last steps, and the request's own however long ago. None before any.
        """
        matrix = Matrix(tuple(Step.model_validate(evidence.data) for _, evidence in found))
        if id not in matrix.rows:
            return None
        columns = [t for t, step in enumerate(matrix.steps) if step.after == id or t >= len(found) - _STEPS]
        rows = [one for one, row in matrix.rows.items() if one == id or not row.keys().isdisjoint(columns)]
        drift = matrix.drift()
        return cls(
            requests=rows,
            ended=[_place(columns, matrix.ended.get(one)) for one in rows],
            steps=[StepView(after=matrix.steps[t].after, at=found[t][1].at) for t in columns],
            leak=[[(rate := matrix.rows[one].get(t)) and rate.value for t in columns] for one in rows],
            interference=[[matrix.interference[one].get(t) for t in columns] for one in rows],
            utility=[matrix.steps[t].utility for t in columns],
            drift=drift and DriftView(**drift._asdict()),
        )

    def drawn(self, id: str) -> str:
        """As a heat map, with this request marked. Ids are shortened, and nothing else is told of a request."""
        asked = [share for row in self.leak for share in row if share is not None]
        return heatmap(
            "Leak on each request after each step",
            f"{len(self.requests)} requests, {len(self.steps)} steps. Highest leak {max(asked, default=0):.1%}, "
            f"lowest utility {min(rate.value for rate in self.utility):.1%}.",
            [_short(one) for one in self.requests],
            [_short(step.after) for step in self.steps],
            self.leak,
            [rate.value for rate in self.utility],
            over=self.ended,
            marked=_short(id),
        )


class OtherEvidence(BaseModel):
    """Evidence of any other kind."""

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
    persistence: PersistenceView | None = Field(description="null until it was asked after a request was enforced")
    other: list[OtherEvidence]


@router.get("/forget-requests/{id}/report")
async def report(id: str, admin: Admin, core: TheCore) -> Report:
    """Probes, leak and retention, before and after, with intervals; and whether what was forgotten stays so."""
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
        persistence=await _persistence(core, id),
        other=[
            OtherEvidence(kind=item.kind, at=item.at, data=dict(item.data))
            for item in evidence
            if item.kind not in (VERIFICATION, PERSISTENCE)
        ],
    )


@router.get(
    "/forget-requests/{id}/report/persistence.svg",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}}, 404: {"description": "no such request, or nobody was asked"}},
)
async def persistence(id: str, admin: Admin, core: TheCore) -> Response:
    """The report's `persistence` as a heat map."""
    await core.registry.get(id)
    view = await _persistence(core, id)
    if view is None:
        raise NotFound("Nothing was asked of this request yet, once one was enforced.", param="id")
    return Response(view.drawn(id), media_type="image/svg+xml")


async def _persistence(core: Core, id: str) -> PersistenceView | None:
    """Read on a thread: of a thousand steps it takes a fifth of a second."""
    return await asyncio.to_thread(PersistenceView.of, await core.registry.evidence_of(PERSISTENCE), id)


def _place(columns: Sequence[int], step: int | None) -> int | None:
    """The first of the columns at or after a step."""
    return next((i for i, t in enumerate(columns) if step is not None and t >= step), None)


def _short(id: str) -> str:
    return f"…{id[-_DIGITS:]}"
