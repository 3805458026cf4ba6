"""A real vLLM with the demo model and a gateway before it that forgets some of its people, for `eco` and `timing`."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import aiohttp

from bench.counted import parsed
from bench.lives import in_force
from bench.load.drive import Client, Target
from bench.load.servers import Cores, ServerError, on
from bench.people import body_of
from bench.serving import VllmProcess
from gateway.demo.forms import probes
from gateway.demo.train import DEMO, ensure_model
from gateway.demo.world import Person
from gateway.process import GatewayProcess

_FORGOTTEN = slice(50, 53)  # people; others are asked about beside them
_OTHERS = slice(55, 60)


@cache
def _questions(key: str) -> list[str]:
    """All that is asked about a person by name."""
    name, asked = DEMO.world()[key].name, probes(DEMO.world(), ("trained", "heldout"), per_fact=4)
    return [probe.question for probe in asked if key in probe.about and name in probe.question]


@dataclass(frozen=True, slots=True)
class Scene:
    """A client of the gateway, whom it forgets by ECO, and whom it does not."""

    client: Client
    forgotten: Sequence[Person]
    others: Sequence[Person]
    vllm: VllmProcess
    http: aiohttp.ClientSession

    def pair(self, rng: random.Random) -> tuple[str, str]:
        """One question, about somebody who is forgotten and about somebody who is not."""
        person = rng.choice(self.forgotten)
        question = rng.choice(_questions(person.key))
        return question, question.replace(person.name, rng.choice(self.others).name)

    async def tokens(self, text: str) -> int:
        """Of a prompt that is this text."""
        asked = {"model": self.vllm.name, "messages": [{"role": "user", "content": text}]}
        async with self.http.post(f"{self.vllm.root}/tokenize", json=asked) as response:
            return int((await response.json())["count"])

    async def between_tokens(self) -> tuple[float, float]:
        """Seconds that vLLM itself counted between two tokens, and how often, since it started."""
        async with self.http.get(f"{self.vllm.root}/metrics") as response:
            found = {sample.name: sample.value for sample in parsed(await response.text())}
        return found["vllm:inter_token_latency_seconds_sum"], found["vllm:inter_token_latency_seconds_count"]


@asynccontextmanager
async def scene(models: Path) -> AsyncIterator[Scene]:
    """vLLM on one core; gateway and driver on the other, for only one of the two is ever busy.

    No verdict is remembered, so that a question may come again.

    Raises:
        VllmError: it is not installed, or did not start.
        ServerError: ECO does not enforce a request.
    """
    cores = Cores.two()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = await asyncio.to_thread(ensure_model, models)
        with on(cores.driver):
            vllm = await stack.enter_async_context(VllmProcess(model, folder / "vllm.log"))
        stack.enter_context(on(cores.measured))
        gateway = GatewayProcess(folder / "gateway", models, _gateway(vllm))
        await stack.enter_async_context(gateway)
        world = DEMO.world()
        async with gateway.admin() as admin:
            for person in world.people[_FORGOTTEN]:
                filed = await admin.post("/forget-requests", body_of(person))
                (how,) = await in_force(gateway, [filed["id"]])
                if how != "eco, enforced":
                    raise ServerError(f"a request is {how} before vLLM, where ECO is to be measured")
        target = Target("gateway", f"{gateway.url}/v1", vllm.name)
        client = await stack.enter_async_context(Client(target))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Scene(client, world.people[_FORGOTTEN], world.people[_OTHERS], vllm, http)


def _gateway(vllm: VllmProcess) -> dict[str, str]:
    return {
        "LETHE_ENGINE__KIND": "vllm",
        "LETHE_ENGINE__URL": vllm.url,
        "LETHE_ENGINE__MODEL": vllm.name,
        "LETHE_ENGINE__FOLDER": "demo",
        "LETHE_GUARD__REMEMBERED": "0",
        "OMP_NUM_THREADS": "1",
    }
