"""What is measured, running: a mock upstream, a gateway with forget requests in force before it, LiteLLM beside."""

import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from bench.counted import parsed
from bench.load.drive import Client, Target
from bench.load.servers import Cores, free_port, litellm_command, on, program
from bench.load.upstream import Behaviour
from gateway.demo.world import make_world
from gateway.process import GatewayProcess

FORGOTTEN = 20  # requests in force while it is measured


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that runs: clients by name, process ids by name, the gateway, and the mock's own address."""

    clients: Mapping[str, Client]
    pids: Mapping[str, int]
    gateway: GatewayProcess
    mock: str
    http: aiohttp.ClientSession

    async def behave(self, how: Behaviour) -> None:
        """Tells the mock how to answer from now on."""
        async with self.http.put(f"{self.mock}/behaviour", json=asdict(how)) as response:
            response.raise_for_status()

    async def open_upstream(self) -> int:
        """Requests that the mock is answering now."""
        async with self.http.get(f"{self.mock}/behaviour") as response:
            return int((await response.json())["open"])

    async def counted(self) -> dict[str, float]:
        """Of the gateway's own count: answers begun, decisions made, requests running."""
        async with self.http.get(f"{self.gateway.url}/metrics") as response:
            samples = parsed(await response.text())
        found = {"answers": 0.0, "decisions": 0.0, "running": 0.0}
        for sample in samples:
            match sample.name, sample.labels:
                case "lethe_responses_total", {"endpoint": "/v1/chat/completions", "status": "200"}:
                    found["answers"] += sample.value
                case "lethe_decisions_total", {"decision": decision} if decision != "refused":
                    found["decisions"] += sample.value
                case "lethe_requests_running", _:
                    found["running"] += sample.value
        return found


@asynccontextmanager
async def running(models: Path, beside: bool = True) -> AsyncIterator[Bench]:
    """The mock, a gateway with forget requests in force, and LiteLLM if it is to be `beside`; this thread pinned.

    Raises:
        ServerError: a program is not installed, or did not start.
    """
    cores = Cores.two()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mock = f"http://127.0.0.1:{(port := free_port())}"
        lite = litellm_command(folder, lite_port := free_port(), f"{mock}/v1") if beside else None
        stack.enter_context(on(cores.driver))
        command = [sys.executable, "-m", "bench.load.upstream", str(port)]
        pids = {"direct": await stack.enter_async_context(program(command, f"{mock}/v1/models", folder / "mock.log"))}
        targets = [Target("direct", f"{mock}/v1", "mock")]
        with on(cores.measured):
            gateway = GatewayProcess(folder / "gateway", models, _gateway(mock))
            await stack.enter_async_context(gateway)
            pids["gateway"] = gateway.pid
            targets.append(Target("gateway", f"{gateway.url}/v1", "mock"))
            if lite:
                url = f"http://127.0.0.1:{lite_port}"
                started = program(lite[0], f"{url}/health/liveliness", folder / "litellm.log", lite[1])
                pids["litellm"] = await stack.enter_async_context(started)
                targets.append(Target("litellm", f"{url}/v1", "mock"))
        async with gateway.admin() as admin:
            for person in make_world().people[:FORGOTTEN]:
                body = {"scope": "entity", "subject": person.name, "aliases": list(person.aliases)}
                await admin.post("/forget-requests", body)
        clients = {target.name: await stack.enter_async_context(Client(target)) for target in targets}
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Bench(clients, pids, gateway, mock, http)


def _gateway(mock: str) -> dict[str, str]:
    return {
        "LETHE_ENGINE__KIND": "upstream",
        "LETHE_ENGINE__URL": f"{mock}/v1",
        "LETHE_ENGINE__MODEL": "mock",
        "LETHE_JOBS__ENABLED": "false",
        "OMP_NUM_THREADS": "1",
    }
