"""O3's life in a gateway process before a real vLLM."""

from pathlib import Path

import pytest

from bench.serving import VllmProcess
from gateway.demo.world import World
from gateway.process import GatewayProcess
from tests.coming_and_going import BRIEF, requests_come_and_go
from tests.vllm.conftest import engine_at

SLOTS = 12  # for two LoRAs at each level of weight, and what stays empty; see `gateway.engines.loras`


@pytest.mark.timeout(1800)  # two trainings by a nice worker beside traffic that never pauses
async def test_requests_come_and_go_while_others_ask(
    served_model: Path, models_dir: Path, tmp_path: Path, world: World
) -> None:
    laid = tmp_path / "laid"
    laid.mkdir()
    async with VllmProcess(served_model, tmp_path / "vllm.log", loras=SLOTS) as server:
        environment = {**engine_at(server), **BRIEF, "LETHE_ENGINE__ADAPTERS": str(laid)}
        async with GatewayProcess(tmp_path / "state", models_dir, environment) as gateway:
            await requests_come_and_go(gateway, world)
    assert not [*laid.iterdir()]  # nobody's LoRA outlives the gateway
