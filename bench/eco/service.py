"""What a forget request costs the service: seconds to its shield under load, to ready after a restart, memory.

What goes wrong meanwhile is counted, and a figure: a shield that was late, a request of the load that was not answered.
"""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from rich.console import Console
from rich.progress import Progress

from bench.asking import asking, chat
from bench.lives import settled
from bench.people import body_of
from gateway.client import AdminClient
from gateway.demo.forms import probes
from gateway.demo.train import DEMO
from gateway.demo.world import Person
from gateway.process import GatewayProcess
from gateway.settings import Settings

RATE = 20.0  # requests a second while shields are raised
_WARM_S = 3.0
_POLL_S, _POLLS = 0.1, 100  # until the server has read what was learnt
_ONLY_SHIELDS = {"LETHE_JOBS__ENABLED": "false"}
ENFORCED = 3  # requests whose learning is waited for before memory is read

T = TypeVar("T")


@dataclass(slots=True)
class Load:
    """Requests beside what is measured: how many left, how many were answered, and for how many seconds."""

    sent: int = 0
    answered: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second that left."""
        return self.sent / self.seconds if self.seconds else 0.0

    @property
    def refused(self) -> int:
        """Those that were not answered, for whatever reason; known once the load is over."""
        return self.sent - self.answered


@dataclass(frozen=True, slots=True)
class Shielded:
    """What requests cost the service that they were filed with.

    Attributes:
        seconds: from call to effect, for each person.
        late: people who were not touched once the call had returned.
        by_eco: requests that ECO served when memory was read.
        peak_gb: the server's.
    """

    seconds: Sequence[float]
    late: int
    load: Load
    by_eco: int
    peak_gb: float


async def shields(settings: Settings, people: Sequence[Person], console: Console) -> Shielded:
    """Raises a shield for each person at 20 requests a second, and reads the server's peak memory.

    The effect is a verdict: a question asked after the call returned is touched. The worker learns
    beside it, as in service, and memory is read once prompts were answered under ECO.
    """
    loop = asyncio.get_running_loop()
    took: list[float] = []
    ids: list[str] = []
    late = 0
    with tempfile.TemporaryDirectory() as folder:
        async with (
            GatewayProcess(Path(folder), settings.models) as gateway,
            gateway.admin() as admin,
            asking(gateway) as http,
            loaded(http) as load,
        ):
            await asyncio.sleep(_WARM_S)
            for person in _tracked(people, "shields under load", console):
                started = loop.time()
                ids.append((await admin.post("/forget-requests", body_of(person)))["id"])
                verdict = await admin.post("/check", {"text": _where(person)})
                took.append(loop.time() - started)
                late += not verdict["touched"]
            by_eco = 0
            for id_, person in zip(ids[:ENFORCED], people, strict=False):
                await settled(admin, id_)
                by_eco += await _under_eco(admin, _where(person))
                await http.post("/v1/chat/completions", json=chat(_where(person)))
            peak = _peak_gb(gateway.pid)
        return Shielded(took, late, load, by_eco, peak)


def _where(person: Person) -> str:
    return f"Where does {person.name} live?"


async def _under_eco(admin: AdminClient, question: str) -> bool:
    """Whether ECO plans for it, at the latest when the server has read what the worker learnt."""
    for _ in range(_POLLS):
        if (await admin.post("/check", {"text": question}))["plan"] == "eco":
            return True
        await asyncio.sleep(_POLL_S)
    return False


@asynccontextmanager
async def loaded(http: httpx.AsyncClient) -> AsyncIterator[Load]:
    """Open-loop: requests leave on time whether or not earlier ones were answered."""
    asked = probes(DEMO.world(), ("heldout", "trained"), seed=7)
    flying: set[asyncio.Task[None]] = set()
    load, loop = Load(), asyncio.get_running_loop()

    async def one(question: str) -> None:
        with suppress(httpx.TransportError):
            response = await http.post("/v1/chat/completions", json=chat(question))
            load.answered += response.status_code == 200

    async def send() -> None:
        rng = random.Random(0)
        due = loop.time()
        while True:
            task = asyncio.create_task(one(rng.choice(asked).question))
            flying.add(task)
            task.add_done_callback(flying.discard)
            load.sent += 1
            due += 1 / RATE
            await asyncio.sleep(max(0.0, due - loop.time()))

    began = loop.time()
    sending = asyncio.create_task(send())
    try:
        yield load
    finally:
        load.seconds = loop.time() - began
        sending.cancel()
        await asyncio.wait([sending, *flying])
    if not sending.cancelled():
        sending.result()  # it crashed, and what was measured beside it had no load


async def restart(settings: Settings, count: int, console: Console) -> float:
    """Seconds from process start to ready with `count` requests in the registry."""
    rng = random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        gateway = GatewayProcess(Path(folder), settings.models, _ONLY_SHIELDS)
        async with gateway, gateway.admin() as admin:
            for i in _tracked(range(count), f"filing {count} requests", console):
                name = f"{_invented(rng)} {_invented(rng)}"
                body = {"scope": "entity", "subject": name, "aliases": [f"{_invented(rng)} of file {i}"]}
                await admin.post("/forget-requests", body)
            await gateway.stop()
            return await gateway.start()


def _invented(rng: random.Random) -> str:
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(4)).title()


def _tracked(items: Sequence[T], title: str, console: Console) -> Iterator[T]:
    """The items with a progress bar."""
    with Progress(console=console, transient=True) as bar:
        yield from bar.track(items, description=title)


def _peak_gb(pid: int) -> float:
    """VmHWM: the most that the process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise OSError("no VmHWM")
