"""The rows of TOFU's table: models by themselves, and models behind a gateway that was asked to forget.

Before it: `measuring`. After it: `run`. One gateway serves one seed and method for its whole life: the authors of
forget01 are filed first and measured, then those that forget05 adds, then those of forget10.
"""

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.forgetting import in_force
from bench.tofu.measuring import Effort, Forgotten, Utility, aucs, forgotten_of, outsiders_of, pace_of, utility_of
from bench.tofu.questions import Author, Kept, Question, of_split, some
from bench.tofu.subjects import MODEL, Subject, ThroughGateway, client
from gateway.client import AdminClient
from gateway.process import GatewayProcess


@dataclass(frozen=True, slots=True)
class Learnt:
    """What became of one request: its method and state, seconds, and why where it failed. No texts."""

    method: str
    state: str
    learning: float
    training: float
    rounds: int
    error: str | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One subject on one split with one seed. Paces are milliseconds a token: of forgotten answers and of kept ones."""

    model: str
    split: str
    seed: int
    utility: Utility
    forgotten: Forgotten
    aucs: dict[str, float]
    pace: float
    pace_kept: float
    training: float = 0.0
    requests: tuple[Learnt, ...] = ()

    @property
    def enforced(self) -> dict[str, int]:
        """Requests by method and state."""
        return dict(Counter(f"{one.method}, {one.state}" for one in self.requests))


@dataclass(frozen=True, slots=True)
class Scope:
    """What one seed is asked: `questions` of a split at most, None for all."""

    authors: Sequence[Author]
    kept: Kept
    questions: int | None
    effort: Effort
    seed: int

    def asked(self, split: str) -> list[Question]:
        """Of the split's authors."""
        return some([one for author in of_split(self.authors, split) for one in author.questions], self.questions, 0)

    def size(self, split: str) -> int:
        """Questions that a row asks."""
        kept, asked = self.kept, len(self.asked(split))
        others = len(kept.retain) + len(kept.real_authors) + len(kept.world_facts) + len(kept.holdout)
        return others + asked + min(self.effort.drawn, asked)


async def row_of(subject: Subject, model: str, split: str, scope: Scope, answered: Callable[[int], None]) -> Row:
    """All that is measured of one subject."""
    asked = scope.asked(split)
    forgotten = await forgotten_of(subject, asked, scope.effort, answered)
    utility = await utility_of(subject, scope.kept, answered)
    outsiders = await outsiders_of(subject, scope.kept.holdout, answered)
    pace = await pace_of(subject, asked, scope.effort)
    pace_kept = await pace_of(subject, scope.kept.retain, scope.effort)
    return Row(model, split, scope.seed, utility, forgotten, aucs(forgotten, outsiders), pace, pace_kept)


async def gated(
    folder: Path, models: Path, method: str, splits: Sequence[str], scope: Scope, answered: Callable[[int], None]
) -> AsyncIterator[tuple[Row, Path]]:
    """A row a split, smallest first, of one gateway; and its state directory, which goes with the next step."""
    serving = {"LETHE_ENGINE__MODEL": str(folder), "LETHE_ENGINE__SERVED_NAME": MODEL}
    with tempfile.TemporaryDirectory() as state:
        async with (
            GatewayProcess(Path(state), models, serving) as gateway,
            gateway.admin() as admin,
            client(gateway.url) as http,
        ):
            subject, filed = ThroughGateway(http, admin), dict[str, Learnt]()
            for split in splits:
                bodies = [author.body | {"method": method} for author in of_split(scope.authors, split)]
                added = [body for body in bodies if body["subject"] not in filed]
                ids = [(await admin.post("/forget-requests", body))["id"] for body in added]
                await in_force(gateway, ids)
                for body, id_ in zip(added, ids, strict=True):
                    filed[body["subject"]] = await _learnt(admin, id_)
                requests = tuple(filed.values())
                row = await row_of(subject, method, split, scope, answered)
                training = sum(one.learning for one in requests)
                yield replace(row, training=training, requests=requests), Path(state)


async def _learnt(admin: AdminClient, id_: str) -> Learnt:
    """Of a request that is in force."""
    found = await admin.get(f"/forget-requests/{id_}")
    events = (await admin.get(f"/forget-requests/{id_}/events", {"limit": 1000}))["data"]
    when = {event["kind"]: datetime.fromisoformat(event["at"]) for event in reversed(events)}  # the first of a kind
    over = when.get("verifying") or when[found["state"]]
    return Learnt(
        found["method"],
        found["state"],
        (over - when["learning"]).total_seconds() if "learning" in when else 0.0,
        sum(event["data"].get("seconds", 0.0) for event in events if event["kind"] == "progress"),
        int((found.get("evidence") or {}).get("rounds", 0)),
        found.get("error"),
        found.get("evidence") or {},
    )
