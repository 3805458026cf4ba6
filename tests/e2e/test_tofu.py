"""Real text: the twenty authors of TOFU's forget10, filed through the admin API of a running gateway."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.probes.tofu import PER_AUTHOR, tofu_entity_requests, tofu_questions
from gateway.client import AdminClient
from gateway.process import GatewayProcess

_BATCH = 200

pytestmark = pytest.mark.data


async def test_official_paraphrases_are_found_and_nobody_else_is(
    fresh: GatewayProcess, data_dir: Path, record_property, capsys
) -> None:
    """Thresholds come from what the requests contain; every question asked here is new to them."""
    async with fresh.admin() as admin:
        ids = []
        for body in tofu_entity_requests(data_dir):
            filed = await admin.post("/forget-requests", {**body, "method": "ignorance"})
            assert filed["state"] == "shielded"
            ids.append(filed["id"])
        questions = tofu_questions(data_dir)
        paraphrases = await hits(admin, questions.paraphrases)
        retain = await hits(admin, questions.retain)
        world = await hits(admin, [*questions.real_authors, *questions.world_facts])
    own = [ids[i // PER_AUTHOR] in found for i, found in enumerate(paraphrases)]
    figures = {
        "recall": sum(own) / len(own),
        "nameless found": f"{sum(own[i] for i in questions.nameless)} of {len(questions.nameless)}",
        "retain90 false positives": f"{sum(map(bool, retain))} of {len(retain)}",
        "real authors and world facts": f"{sum(map(bool, world))} of {len(world)}",
    }
    for name, value in figures.items():
        record_property(name, value)
    with capsys.disabled():
        print(f"\nTOFU forget10 through the admin API: {figures}")
    assert sum(own) / len(own) >= 0.995
    assert sum(map(bool, retain)) / len(retain) <= 0.005
    assert not any(world)


async def hits(admin: AdminClient, texts: Sequence[str]) -> list[set[str]]:
    """The requests that each text touches."""
    found: list[set[str]] = []
    for start in range(0, len(texts), _BATCH):
        body = {"checks": [{"text": text} for text in texts[start : start + _BATCH]]}
        verdicts = (await admin.post("/check", body))["checks"]
        found += [{one["id"] for one in verdict["requests"]} for verdict in verdicts]
    return found
