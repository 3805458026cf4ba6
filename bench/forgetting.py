"""Five people forgotten on the demo world: what is answered about them and about everybody else.

Every kind of question about them is asked of a gateway before and after, and of the retain model (the
same training without them), which is right by chance as often as a question can be. A question is
about a forgotten person when its answer needs a fact about one: two hops that end there, and the
question who wrote a book, count. `eco_alone` is what the corrupted prompts say with nothing behind
them: no output guard, no fallback to ignorance.
"""

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import httpx
from rich.console import Console
from rich.progress import Progress

from bench.alone import planned, reopened, said
from bench.asking import Public, each
from bench.counted import samples
from bench.tried import tried
from gateway.client import IDLE_S, AdminClient
from gateway.core import GREEDY
from gateway.demo.exam import answers as retain_answers
from gateway.demo.forms import Kind, Probe, correct, probes
from gateway.demo.train import DEMO, ensure_model, retain_recipe
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from gateway.registry import TERMINAL, Rate
from gateway.settings import Settings
from guards.base import Conversation, LetheError

KINDS: tuple[Kind, ...] = ("trained", "heldout", "alias", "cloze", "choice", "relation", "two_hop", "reverse")
UNSEEN = (2, 3)  # sets that nothing was developed on
MEASURED = (*UNSEEN, 1)  # and one after a look at which ULD's depth was chosen
_SET = 5
_POLL_S = 0.1
_PATIENCE_S = 3600.0  # for one request; they are learned one after the other
_WORKER = b"gateway.jobs.worker"


def seen(world: World) -> set[str]:
    """The keys of those on whom ECO's margin was chosen (bench/LOG.md)."""
    return {person.key for seed in (0, 1) for person in random.Random(seed).sample(world.people, _SET)}


def sets_of(world: World, count: int) -> list[list[Person]]:
    """Disjoint sets of five, none of them `seen`; each is the same however many are wanted."""
    known = seen(world)
    rest = [person for person in world.people if person.key not in known]
    # all at once: a sample of fewer need not begin a sample of more
    drawn = random.Random(0).sample(rest, len(rest) // _SET * _SET)
    return [drawn[i * _SET : (i + 1) * _SET] for i in range(count)]


def fresh_sets(world: World, count: int | None = None) -> dict[int, list[Person]]:
    """So many of the sets to measure, by number, unseen ones first; None: all. On the first of all, 0, methods are
    developed."""
    every = sets_of(world, 1 + len(MEASURED))
    return {number: every[number] for number in MEASURED[:count]}


class NotInForce(LetheError):
    """A forget request did not come into force, or not in time."""


class InSets(Protocol):
    """How much a benchmark of several sets measures: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def sets(self) -> int: ...


Size = TypeVar("Size", bound=InSets)


def in_part(size: Size, seeds: int | None) -> Size:
    """The same of so many sets at most; None: of all."""
    return replace(size, sets=min(size.sets, seeds or size.sets))


@dataclass(frozen=True, slots=True)
class Tally:
    """Probes asked, and how many were answered correctly before, after and by the retain model, by kind."""

    asked: Counter[str] = field(default_factory=Counter)
    right_before: Counter[str] = field(default_factory=Counter)
    right_after: Counter[str] = field(default_factory=Counter)
    right_retain: Counter[str] | None = None  # the retain model is asked about forgotten people alone

    @classmethod
    def of(
        cls, asked: Sequence[Probe], before: Sequence[str], after: Sequence[str], retain: Sequence[str] | None = None
    ) -> "Tally":
        """Marks the answers to each probe."""

        def right(answers: Sequence[str]) -> Counter[str]:
            return Counter(p.kind for p, answer in zip(asked, answers, strict=True) if correct(p, answer))

        return cls(
            Counter(probe.kind for probe in asked),
            right(before),
            right(after),
            None if retain is None else right(retain),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.asked + other.asked,
            self.right_before + other.right_before,
            self.right_after + other.right_after,
            None if self.right_retain is None or other.right_retain is None else self.right_retain + other.right_retain,
        )

    @property
    def before(self) -> float:
        return self.right_before.total() / self.asked.total()

    @property
    def after(self) -> float:
        return self.right_after.total() / self.asked.total()

    @property
    def retain_model(self) -> float:
        assert self.right_retain is not None, "the retain model was not asked"
        return self.right_retain.total() / self.asked.total()

    def by_kind(self) -> list[dict[str, Any]]:
        """A row a kind, with intervals."""
        return [
            {
                "kind": kind,
                "asked": asked,
                "before": self.right_before[kind] / asked,
                "after": Rate.over(self.right_after[kind], asked).model_dump(),
            }
            | ({} if self.right_retain is None else {"retain_model": self.right_retain[kind] / asked})
            for kind, asked in self.asked.items()
        ]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One set of five people."""

    seed: int
    methods: Counter[str]
    alone: dict[str, float]
    forgotten: Tally
    retained: Tally

    def row(self) -> dict[str, Any]:
        """As JSON."""
        forgotten, retained = self.forgotten, self.retained
        return {
            "seed": self.seed,
            "enforced_by": dict(self.methods),
            "eco_alone": self.alone,
            "forgotten": {
                "asked": forgotten.asked.total(),
                "before": forgotten.before,
                "after": Rate.over(forgotten.right_after.total(), forgotten.asked.total()).model_dump(),
                "retain_model": forgotten.retain_model,
            },
            "retained": {
                "asked": retained.asked.total(),
                "before": retained.before,
                "after": Rate.over(retained.right_after.total(), retained.asked.total()).model_dump(),
            },
        }


async def forget(settings: Settings, world: World, people: Sequence[Person], seed: int, console: Console) -> Forgotten:
    """Files five people with method `eco` and asks about everybody, before and after.

    What the learning job searches or verifies with is not asked here.
    """
    keys = {person.key for person in people}
    asked = probes(world, KINDS, seed=100 + seed)
    never = tried(map(body_of, people))
    about = [probe for probe in asked if keys & set(probe.about) and probe.question not in never]
    others = [probe for probe in asked if not keys & set(probe.about)] + list(probes(world, ("chatter",)))
    with Progress(console=console, transient=True) as bar, tempfile.TemporaryDirectory() as folder:
        model = await retain_model(settings, keys, bar)
        questions = [Conversation.of(probe.question) for probe in about]
        without = await asyncio.to_thread(retain_answers, model, questions)
        async with (
            GatewayProcess(Path(folder), settings.models) as gateway,
            gateway.admin() as admin,
            asking(gateway) as http,
        ):
            task = bar.add_task(f"set {seed}: asking", total=2 * (len(about) + len(others)))
            ask = Asker(http, lambda: bar.advance(task))
            before_about, before_others = await ask.all(about), await ask.all(others)
            ids = [(await admin.post("/forget-requests", body_of(person)))["id"] for person in people]
            methods = Counter(await in_force(gateway, ids))
            after_about, after_others = await ask.all(about), await ask.all(others)
        alone = await _alone(settings, Path(folder), about, without)
    return Forgotten(
        seed,
        methods,
        alone,
        Tally.of(about, before_about, after_about, without),
        Tally.of(others, before_others, after_others),
    )


async def retain_model(settings: Settings, keys: set[str], bar: Progress) -> Path:
    """The folder of the model that never heard of these people; trained first where there is none."""
    task = bar.add_task("retain model", total=1.0)
    return await asyncio.to_thread(
        ensure_model,
        settings.models,
        retain_recipe(DEMO, keys),
        lambda share, doing: bar.update(task, completed=share),
    )


async def _alone(
    settings: Settings, state_dir: Path, asked: Sequence[Probe], without: Sequence[str]
) -> dict[str, float]:
    """The engine's own answers under ECO's plans: shares that are right, there and by the retain model, or disclaim."""
    async with reopened(settings, state_dir) as core:
        plans = [
            (probe, await planned(core, probe.question), retain) for probe, retain in zip(asked, without, strict=True)
        ]
        own = [one for one in plans if one[1].method == "eco"]
        texts = await said(core, [(probe, plan) for probe, plan, _ in own], at_once=1)
        answers = [(probe, text, retain) for (probe, _, retain), text in zip(own, texts, strict=True)]
        voice = core.ignorance.voice
    return {
        "asked": len(answers),
        "correct": sum(correct(probe, answer) for probe, answer, _ in answers) / max(1, len(answers)),
        "retain_model": sum(correct(probe, retain) for probe, _, retain in answers) / max(1, len(answers)),
        "disclaims": sum(voice.speaks(answer) for _, answer, _ in answers) / max(1, len(answers)),
    }


async def in_force(gateway: GatewayProcess, ids: Sequence[str]) -> list[str]:
    """What enforces each request, once the gateway serves by it and its worker has ended.

    A request is enforced in the registry first: the worker is another process, and until the server has read the
    registry and loaded what was learnt, the shield answers. Once it is enforced the worker asks about earlier ones
    and may consolidate; it has ended where /proc knows of none, and on systems without /proc that is not waited for.

    Raises:
        NotInForce: one is over, or all of them took longer than an hour each.
    """
    async with _in_time(len(ids)), gateway.admin() as admin, asking(gateway) as http:
        methods = [await _settled(admin, id_) for id_ in ids]
        while True:
            if not _works(gateway.pid):
                revisions = [(await admin.get(f"/forget-requests/{id_}"))["revision"] for id_ in ids]
                if await _revision(http) >= max(revisions, default=0):
                    return methods
            await asyncio.sleep(_POLL_S)


def _works(pid: int) -> bool:
    """Whether a gateway's process has a worker."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid and _WORKER in (process / "cmdline").read_bytes().split(b"\0"):
                return True
    return False


async def _revision(http: httpx.AsyncClient) -> float:
    """Of the registry, as the gateway enforces it."""
    return max((sample.value for sample in await samples(http, "lethe_policy_revision")), default=0.0)


async def settled(admin: AdminClient, id_: str) -> str:
    """The method that is to enforce a request, once that is verified; `in_force`, once it does.

    Raises:
        NotInForce: it is over, or that took longer than an hour.
    """
    async with _in_time():
        return await _settled(admin, id_)


async def _settled(admin: AdminClient, id_: str) -> str:
    while True:
        found = await admin.get(f"/forget-requests/{id_}")
        if found["state"] in ("enforced", "failed"):
            return f"{found['method']}, {found['state']}"
        if found["state"] in TERMINAL:
            raise NotInForce(f"forget request {id_} is {found['state']}: nothing will enforce it")
        await asyncio.sleep(0.5)


@asynccontextmanager
async def _in_time(requests: int = 1) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_PATIENCE_S * max(1, requests)):
            yield
    except TimeoutError:
        given = f"{_PATIENCE_S / 3600:g} h for each of {max(1, requests)}"
        raise NotInForce(f"forget requests did not come into force in time, which was {given}") from None


class Asker:
    """Greedy answers through the public API, sixteen at a time."""

    def __init__(self, http: httpx.AsyncClient, answered: Callable[[], None]) -> None:
        self._public = Public(http)
        self._answered = answered

    async def all(self, questions: Sequence[Probe]) -> list[str]:
        return await each(self._one, questions, self._answered)

    async def _one(self, probe: Probe) -> str:
        found = await self._public.chat(probe.question)
        return str(found["choices"][0]["message"]["content"] or "")


def chat(question: str) -> dict[str, Any]:
    """The body of a greedy question."""
    messages = [{"role": "user", "content": question}]
    return {"model": "lethe-demo", "messages": messages, "temperature": 0, "max_tokens": GREEDY.max_tokens}


def body_of(person: Person) -> dict[str, Any]:
    """The forget request for a person, as an admin would file it."""
    return {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), "method": "eco"}


@asynccontextmanager
async def asking(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the public API with connections to spare."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=IDLE_S)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=120, limits=limits) as http:
        yield http
