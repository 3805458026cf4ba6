"""What the registry hands out: frozen, and silent about what they hold when printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from gateway.registry.spec import ForgetSpec
from gateway.registry.states import State

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """One forget request as it stands.

    `method` is what enforces it now, `artifacts` the digest of each kind it has, `revision` the
    registry's when it last changed, `error` a short text without personal data.
    """

    id: str
    spec: ForgetSpec = field(repr=False)
    state: State
    method: str | None
    created_at: datetime
    updated_at: datetime
    revision: int
    attempts: int
    warnings: tuple[str, ...] = field(repr=False)
    thresholds: Json = field(repr=False)
    evidence: Json = field(repr=False)
    artifacts: Mapping[str, str]
    error: str | None


class Changes(TypedDict, total=False):
    """What may change beside the state. A value replaces the old one whole."""

    method: str | None
    attempts: int
    warnings: tuple[str, ...]
    thresholds: Json
    evidence: Json
    artifacts: Mapping[str, str]
    error: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some forget requests, newest first; `next` is the cursor of the following page, None on the last."""

    items: tuple[ForgetRequest, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a forget request. `seq` counts from 1 within the request."""

    seq: int
    at: datetime
    kind: str
    actor: str
    data: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of evidence, such as a verification; later ones replace none."""

    kind: str
    at: datetime
    data: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of the policy document."""

    version: int
    at: datetime
    actor: str
    body: Json


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, to which object. `seq` counts from 1 without gaps."""

    seq: int
    at: datetime
    actor: str
    action: str
    object: str
    detail: Json = field(repr=False)
