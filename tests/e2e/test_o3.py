"""O3's life in a gateway process on the local engine."""

from pathlib import Path

import pytest

from gateway.demo.forms import correct
from gateway.demo.phrases import IGNORANCE
from gateway.demo.world import World
from gateway.process import GatewayProcess
from tests.coming_and_going import BRIEF, about, client_of, filed, heard, requests_come_and_go, settled, text


@pytest.mark.timeout(1800)  # two trainings by a nice worker
async def test_requests_come_and_go_while_others_ask(trained: Path, tmp_path: Path, world: World) -> None:
    async with GatewayProcess(tmp_path / "state", trained, BRIEF) as gateway:
        await requests_come_and_go(gateway, world)


async def test_a_training_that_fails_leaves_the_shield_up(trained: Path, tmp_path: Path, world: World) -> None:
    """As where peft is installed and cannot be imported: found out when all else is done."""
    person = world.people[44]
    asked = about(world, [person])
    (tmp_path / "site" / "peft").mkdir(parents=True)
    (tmp_path / "site" / "peft" / "__init__.py").write_text("raise ImportError('of another transformers')")
    broken = BRIEF | {"PYTHONPATH": str(tmp_path / "site"), "LETHE_JOBS__ATTEMPTS": "1"}
    async with (
        GatewayProcess(tmp_path / "state", trained, broken) as gateway,
        client_of(gateway) as client,
        gateway.admin() as admin,
    ):
        before = await heard(client, asked)
        assert any(correct(probe, text(before, probe)) for probe in asked)
        id_ = await filed(admin, person)
        failed = await settled(admin, id_)
        assert (failed["state"], failed["method"]) == ("failed", "ignorance")
        assert failed["error"] == "learning failed (ImportError)"
        for probe in asked:
            name = next(name for name in (person.name, *person.aliases) if name in probe.question)
            assert text(await heard(client, [probe]), probe) == IGNORANCE.format(name=name)
        await admin.post(f"/forget-requests/{id_}/rollback")
        assert await heard(client, asked) == before
