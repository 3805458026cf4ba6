"""The rows of TOFU's table: models by themselves, and models behind a gateway that was asked to forget.

Before it: `measuring`. After it: `run`. One gateway serves one seed and method for its whole life: the authors of
forget01 are filed first and measured, then those that forget05 adds, then those of forget10.
"""

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from adapters.uld.assistant import default_blocks
from bench.counted import between
from bench.history import history, took
from bench.lives import in_force
from bench.tofu.exposure import Exposed
from bench.tofu.marks import Forgotten, Utility
from bench.tofu.measuring import forgotten_of, pace_of, strangers_of, utility_of
from bench.tofu.questions import Author, Kept, Question, of_split
from bench.tofu.size import Effort
from bench.tofu.subjects import MAX_BATCH, MODEL, Subject, ThroughGateway, client
from gateway.client import AdminClient
from gateway.process import GatewayProcess

_LEAST_BLOCKS = 2  # in an assistant of ULD: the answers are sentences, and one block learns too little (bench/LOG.md)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What became of one request: its method and state, seconds, and why where it failed. No texts.

    Attributes:
        learning: of the worker, from the first of its learning to the first verification.
        training: of these the last training's own, where the method tells (O3).
    """

    method: str
    state: str
    learning: float
    training: float
    rounds: int
    error: str | None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One subject on one split with one seed.

    Attributes:
        pace, pace_kept: milliseconds a token, of forgotten answers and of kept ones.
        training: seconds until it forgets: of NPO's training loop; of the learning of all requests.
        answered: behind a gateway, its answers in words by the method that made them: `bench.counted`.
        blocks: of the model in an assistant of ULD.
    """

    model: str
    split: str
    seed: int
    utility: Utility
    forgotten: Forgotten
    exposed: Exposed
    pace: float
    pace_kept: float
    training: float = 0.0
    requests: tuple[Learnt, ...] = ()
    answered: Mapping[str, int] = field(default_factory=dict)
    blocks: int | None = None

    def methods(self) -> dict[str, Any]:
        """Requests by method and state; answers by who made them; of those about who is forgotten that are scored, by
        the method's plan; and of ULD's assistants the blocks."""
        enforced = Counter(f"{one.method}, {one.state}" for one in self.requests)
        return {
            "enforced_by": dict(enforced),
            "answered_by": dict(self.answered),
            "scored_by": dict(Counter(self.forgotten.scored_by)),
            **({"blocks": self.blocks} if self.blocks else {}),
        }


@dataclass(frozen=True, slots=True)
class Scope:
    """What one seed is asked: of a split the last `most` authors, None for all."""

    authors: Sequence[Author]
    kept: Kept
    most: int | None
    effort: Effort
    seed: int

    def forgotten(self, split: str) -> Sequence[Author]:
        """Those of the split who are filed."""
        return of_split(self.authors, split)[-(self.most or 0) :]

    def asked(self, split: str) -> list[Question]:
        """All questions about them."""
        return [one for author in self.forgotten(split) for one in author.questions]

    def size(self, split: str) -> int:
        """Questions that a row asks."""
        kept, asked = self.kept, len(self.asked(split))
        others = len(kept.retain) + len(kept.real_authors) + len(kept.world_facts) + len(kept.holdout)
        return others + asked + min(self.effort.drawn, asked)


async def row_of(subject: Subject, model: str, split: str, scope: Scope, answered: Callable[[int], None]) -> Row:
    """All that is measured of one subject."""
    asked = scope.asked(split)
    forgotten, members = await forgotten_of(subject, asked, scope.effort, answered)
    utility = await utility_of(subject, scope.kept, answered)
    others = await strangers_of(subject, scope.kept.holdout, answered)
    strangers = tuple(one.author for one in scope.kept.holdout)
    pace = await pace_of(subject, asked, scope.effort)
    pace_kept = await pace_of(subject, scope.kept.retain, scope.effort)
    exposed = Exposed(forgotten.authors, members, strangers, others)
    return Row(model, split, scope.seed, utility, forgotten, exposed, pace, pace_kept)


@dataclass(frozen=True, slots=True)
class Gated:
    """A gateway that was asked to forget a split: whom to ask, what became of all requests, and its state directory."""

    split: str
    subject: ThroughGateway
    requests: tuple[Learnt, ...]
    state: Path
    blocks: int

    async def row(self, method: str, scope: Scope, answered: Callable[[int], None]) -> Row:
        """All that is measured of it."""
        before = await self.subject.answered()
        row = await row_of(self.subject, method, self.split, scope, answered)
        made = between(before, await self.subject.answered(), method)
        training = sum(one.learning for one in self.requests)
        blocks = self.blocks if method == "uld" else None
        return replace(row, training=training, requests=self.requests, answered=made, blocks=blocks)


def blocks_of(folder: Path) -> int:
    """Of this model in an assistant of ULD: as many as by default, but two at least where there are two.

    Raises:
        OSError: there is no model.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return min(int(config.num_hidden_layers), max(_LEAST_BLOCKS, default_blocks(config)))


async def gated(folder: Path, models: Path, method: str, splits: Sequence[str], scope: Scope) -> AsyncIterator[Gated]:
    """One gateway, split by split, smallest first; each is gone with the next step."""
    blocks = blocks_of(folder)
    serving = {
        "LETHE_ENGINE__MODEL": str(folder),
        "LETHE_ENGINE__SERVED_NAME": MODEL,
        "LETHE_ENGINE__MAX_BATCH": str(MAX_BATCH),
        "LETHE_JOBS__ULD_BLOCKS": str(blocks),
    }
    with tempfile.TemporaryDirectory() as state:
        async with (
            GatewayProcess(Path(state), models, serving) as gateway,
            gateway.admin() as admin,
            client(gateway.url) as http,
        ):
            subject, filed = ThroughGateway(http, admin), dict[str, Learnt]()
            for split in splits:
                bodies = [author.body | {"method": method} for author in scope.forgotten(split)]
                added = [body for body in bodies if body["subject"] not in filed]
                ids = [(await admin.post("/forget-requests", body))["id"] for body in added]
                await in_force(gateway, ids)
                for body, id_ in zip(added, ids, strict=True):
                    filed[body["subject"]] = await _learnt(admin, id_)
                yield Gated(split, subject, tuple(filed.values()), Path(state), blocks)


async def _learnt(admin: AdminClient, id_: str) -> Learnt:
    """Of a request that is in force."""
    found = await admin.get(f"/forget-requests/{id_}")
    learning = took(await history(admin, id_), found["state"])
    return Learnt(
        found["method"],
        found["state"],
        learning.learning or 0.0,
        learning.training,
        int((found.get("evidence") or {}).get("rounds", 0)),
        found.get("error"),
        found.get("evidence") or {},
    )
