"""`lethe bench eco`: the main job on the demo world, measured through a gateway process and its public API.

Forgetting: three sets of five people are filed with method `eco`; every kind of question about them
is asked before and after, and asked of the retain model (the same training without them), which a
question is right by chance as often as it is. Retention: the same questions about everybody else.
Service: seconds from the call to its effect under load, seconds to ready with a thousand requests,
and the server's peak memory.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from bench.result import Figure, Result
from gateway.client import AdminClient
from gateway.demo.exam import answers as retain_answers
from gateway.demo.forms import Kind, Probe, correct, probes
from gateway.demo.train import DEMO, ensure_model, retain_recipe
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from gateway.registry import Rate
from gateway.serve import prepare
from gateway.settings import Settings
from guards.base import Conversation

_KINDS: tuple[Kind, ...] = ("trained", "heldout", "alias", "cloze", "choice", "relation", "two_hop", "reverse")
_SET = 5
_RATE = 20.0  # requests a second while shields are raised
_MANY = 1000


async def measure(settings: Settings, quick: bool, console: Console) -> Result:
    """All figures of the main job."""
    prepare(settings)
    world = DEMO.world()
    seeds = (0,) if quick else (0, 1, 2)
    rounds = [await _forget(settings, world, seed, console) for seed in seeds]
    shields, peak = await _shields(settings, world, 5 if quick else 20, console)
    ready = await _restart(settings, 50 if quick else _MANY, console)
    forgotten = sum((one.forgotten for one in rounds), _Tally())
    retained = sum((one.retained for one in rounds), _Tally())
    excess = max(one.forgotten.after - one.forgotten.retain_model for one in rounds)
    kept = min(one.retained.after / one.retained.before for one in rounds)
    figures = [
        Figure.of("forgotten: correct, worst set, above the retain model", 100 * excess, "<=", 2, "points"),
        Figure.of("retained: correct, worst set, share of before", kept, ">=", 0.99),
        Figure.of("shield, call to effect at 20 requests/s, slowest", max(shields), "<=", 1.0, "s"),
        Figure.of(f"restart to ready with {50 if quick else _MANY} requests", ready, "<=", 5.0, "s"),
        Figure.of("peak memory of the server", peak, "<=", 1.2, "GB"),
    ]
    return Result(
        "eco",
        {
            "recipe": DEMO.digest,
            "people": len(world.people),
            "set": _SET,
            "quick": quick,
            "shield_p50": median(shields),
        },
        0,
        figures,
        {
            "sets": [one.row() for one in rounds],
            "forgotten_by_kind": forgotten.by_kind(),
            "retained_by_kind": retained.by_kind(),
        },
    )


@dataclass(frozen=True)
class _Tally:
    """Probes asked, and how many were answered correctly before, after and by the retain model, by kind."""

    asked: Counter[str] = field(default_factory=Counter)
    right_before: Counter[str] = field(default_factory=Counter)
    right_after: Counter[str] = field(default_factory=Counter)
    right_retain: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "_Tally") -> "_Tally":
        return _Tally(
            self.asked + other.asked,
            self.right_before + other.right_before,
            self.right_after + other.right_after,
            self.right_retain + other.right_retain,
        )

    @property
    def before(self) -> float:
        return self.right_before.total() / self.asked.total()

    @property
    def after(self) -> float:
        return self.right_after.total() / self.asked.total()

    @property
    def retain_model(self) -> float:
        return self.right_retain.total() / self.asked.total()

    def by_kind(self) -> list[dict[str, Any]]:
        """A row a kind, with intervals."""
        return [
            {
                "kind": kind,
                "asked": asked,
                "before": self.right_before[kind] / asked,
                "after": Rate.over(self.right_after[kind], asked).model_dump(),
                "retain_model": self.right_retain[kind] / asked,
            }
            for kind, asked in self.asked.items()
        ]


@dataclass(frozen=True)
class _Round:
    seed: int
    methods: Counter[str]
    fallbacks: float
    forgotten: _Tally
    retained: _Tally

    def row(self) -> dict[str, Any]:
        """One set as a row."""
        return {
            "seed": self.seed,
            "enforced_by": dict(self.methods),
            "eco_answers_replaced_by_ignorance": self.fallbacks,
            "forgotten": {
                "asked": self.forgotten.asked.total(),
                "before": self.forgotten.before,
                "after": Rate.over(self.forgotten.right_after.total(), self.forgotten.asked.total()).model_dump(),
                "retain_model": self.forgotten.retain_model,
            },
            "retained": {
                "asked": self.retained.asked.total(),
                "before": self.retained.before,
                "after": Rate.over(self.retained.right_after.total(), self.retained.asked.total()).model_dump(),
            },
        }


async def _forget(settings: Settings, world: World, seed: int, console: Console) -> _Round:
    people = random.Random(seed).sample(world.people, _SET)
    keys = {person.key for person in people}
    asked = probes(world, _KINDS, seed=100 + seed)
    about = [probe for probe in asked if keys & set(probe.about)]
    others = [probe for probe in asked if not keys & set(probe.about)]
    others += probes(world, ("chatter",))
    with Progress(console=console, transient=True) as bar:
        training = bar.add_task(f"set {seed}: retain model", total=1.0)
        retain = await asyncio.to_thread(
            ensure_model,
            settings.models,
            retain_recipe(DEMO, keys),
            lambda share, doing: bar.update(training, completed=share),
        )
        without = await asyncio.to_thread(retain_answers, retain, [Conversation.of(probe.question) for probe in about])
        with tempfile.TemporaryDirectory() as folder:
            async with (
                GatewayProcess(Path(folder), settings.models) as gateway,
                gateway.admin() as admin,
                _client(gateway) as http,
            ):
                asking = bar.add_task(f"set {seed}: asking", total=2 * (len(about) + len(others)))
                ask = _Asker(http, lambda: bar.advance(asking))
                before_about, before_others = await ask.all(about), await ask.all(others)
                ids = [(await admin.post("/forget-requests", _body(person)))["id"] for person in people]
                methods = Counter([(await _settled(admin, id_))["method"] for id_ in ids])
                counted = await _unsound(http)
                after_about, after_others = await ask.all(about), await ask.all(others)
                replaced, answered = [b - a for a, b in zip(counted, await _unsound(http), strict=True)]
    return _Round(
        seed,
        methods,
        replaced / max(1.0, replaced + answered),
        _tally(about, before_about, after_about, without),
        _tally(others, before_others, after_others, before_others),
    )


def _tally(asked: Sequence[Probe], before: Sequence[str], after: Sequence[str], retain: Sequence[str]) -> _Tally:
    def right(answers: Sequence[str]) -> Counter[str]:
        return Counter(p.kind for p, answer in zip(asked, answers, strict=True) if correct(p, answer))

    return _Tally(Counter(probe.kind for probe in asked), right(before), right(after), right(retain))


def _body(person: Person) -> dict[str, Any]:
    return {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), "method": "eco"}


async def _settled(admin: AdminClient, id_: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = await admin.get(f"/forget-requests/{id_}")
        if found["state"] in ("enforced", "failed"):
            return found
        await asyncio.sleep(0.5)


async def _unsound(http: httpx.AsyncClient) -> tuple[float, float]:
    """ECO's answers that were replaced, and those that were shown, so far."""
    text = (await http.get("/metrics")).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    replaced = float(values.get('lethe_fallbacks_total{method="eco",reason="unsound"}', 0))
    return replaced, float(values.get('lethe_plans_total{method="eco"}', 0))


class _Asker:
    """Greedy answers through the public API, sixteen at a time."""

    def __init__(self, http: httpx.AsyncClient, asked: Any) -> None:
        self._http = http
        self._asked = asked
        self._places = asyncio.Semaphore(16)

    async def all(self, questions: Sequence[Probe]) -> list[str]:
        return await asyncio.gather(*(self.one(probe.question) for probe in questions))

    async def one(self, question: str) -> str:
        async with self._places:
            response = await self._http.post("/v1/chat/completions", json=_chat(question))
        response.raise_for_status()
        self._asked()
        return str(response.json()["choices"][0]["message"]["content"])


def _chat(question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "lethe-demo", "messages": messages, "temperature": 0, "max_tokens": 64}


@asynccontextmanager
async def _client(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=120, limits=limits) as http:
        yield http


async def _shields(settings: Settings, world: World, count: int, console: Console) -> tuple[list[float], float]:
    """Seconds from call to effect, each while 20 requests a second are served; and the server's peak memory in GB."""
    asked = probes(world, ("heldout", "trained"), seed=7)
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        environment = {"LETHE_JOBS__ENABLED": "false"}
        async with GatewayProcess(Path(folder), settings.models, environment) as gateway, gateway.admin() as admin:
            async with _client(gateway) as http, _load(http, asked):
                await asyncio.sleep(3)
                took = []
                for person in _tracked(world.people[:count], "shielding under load", console):
                    started = loop.time()
                    await admin.post("/forget-requests", _body(person))
                    verdict = await admin.post("/check", {"text": f"Where does {person.name} live?"})
                    assert verdict["touched"], "a shield that is not up"
                    took.append(loop.time() - started)
            return took, _peak_gb(gateway.pid)


@asynccontextmanager
async def _load(http: httpx.AsyncClient, asked: Sequence[Probe]) -> AsyncIterator[None]:
    """Open-loop: requests leave on time whether or not earlier ones were answered."""
    flying: set[asyncio.Task[httpx.Response]] = set()

    async def send() -> None:
        rng = random.Random(0)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            task = asyncio.create_task(http.post("/v1/chat/completions", json=_chat(rng.choice(asked).question)))
            flying.add(task)
            task.add_done_callback(flying.discard)
            due += 1 / _RATE
            await asyncio.sleep(max(0.0, due - loop.time()))

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(*flying, return_exceptions=True)


async def _restart(settings: Settings, count: int, console: Console) -> float:
    """Seconds from process start to ready with `count` requests in the registry."""
    names = random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        gateway = GatewayProcess(Path(folder), settings.models, {"LETHE_JOBS__ENABLED": "false"})
        async with gateway, gateway.admin() as admin:
            for i in _tracked(range(count), f"filing {count} requests", console):
                name = f"{_invented(names)} {_invented(names)}"
                body = {"scope": "entity", "subject": name, "aliases": [f"{_invented(names)} the {i}th of the files"]}
                await admin.post("/forget-requests", body)
            await gateway.stop()
            return await gateway.start()


def _tracked(items: Any, title: str, console: Console) -> Any:
    """The items with a progress bar."""
    with Progress(console=console, transient=True) as bar:
        yield from bar.track(items, description=title)


def _invented(rng: random.Random) -> str:
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(4)).title()


def _peak_gb(pid: int) -> float:
    """VmHWM: the most that the process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise OSError("no VmHWM")
