"""A real vLLM that is cut off, hangs, dies and comes back, and a worker that is killed while it learns."""

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from bench.serving import VllmProcess
from gateway.demo.phrases import IGNORANCE
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from tests.coming_and_going import settled
from tests.vllm.conftest import CHAT, METHODS, Scene, asking, engine_at, forgetting, where

SILENCE = 10  # seconds in which vLLM must say something; a busy machine is slow, and not silent
LONG = asking("What is 2 plus 3?", max_tokens=900, logit_bias={"2": -100})  # no end: an answer of seconds, about nobody
DRAWS = 20
EVENT = b"data: "
BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")


@dataclass
class Link:
    """A way to a server. While it has a `fault` it passes so many `events` of an answer, and is then cut, or silent."""

    target: str
    fault: str = ""
    events: int = 0
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)  # by path
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Whoever comes is refused, whoever is there is thrown out."""
        assert self._server
        self._server.close()
        await self.drop()

    async def drop(self) -> None:
        while self._writers:  # a ping may come meanwhile
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        parts = urlsplit(self.target)
        try:
            back, there = await asyncio.open_connection(parts.hostname, parts.port)
            ways = (self._forth(reader, there), self._back(back, writer), _closed(writer))
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            there.transport.abort()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _forth(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            self.asked.update(path.decode() for path in re.findall(rb"(?:POST|GET) (/\S*) HTTP/1.1\r\n", data))
            there.write(data)

    async def _back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await back.read(2**16):
            head, *events = data.split(EVENT)
            if self.fault and passed + len(events) >= self.events:
                before = EVENT.join([head, *events[: self.events - passed]]) if self.events else b""
                writer.write(before)
                while self.fault == "silent":
                    await asyncio.sleep(0.02)
                if self.fault == "cut":
                    return
                data, events = data[len(before) :], []
            passed = passed + len(events) if self.fault else 0
            writer.write(data)


async def _closed(writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        await writer.wait_closed()


@dataclass(frozen=True)
class Told:
    """What a client read."""

    status: int
    text: str
    error: dict[str, Any] | None
    finish: str | None

    def broke_off(self, code: str) -> bool:
        """It ended in this error, or in its own way: where others have the cores it may be done too soon."""
        return (self.status, self.error and self.error["code"], self.finish) in (
            (200, code, None),
            (200, None, "length"),
        )


@dataclass(frozen=True)
class Stage:
    """A gateway before one vLLM that it takes for two, by two links."""

    gateway: GatewayProcess
    http: httpx.AsyncClient
    vllm: VllmProcess
    links: tuple[Link, Link]
    people: Scene

    async def ask(self, person: Person, stream: bool = False) -> Told:
        return await told(self.http, asking(where(person), stream=stream))

    async def begin(self) -> asyncio.Task[Told]:
        """A long stream, of which something has come."""
        begun = asyncio.Event()
        reading = asyncio.create_task(told(self.http, {**LONG, "stream": True}, begun))
        await asyncio.wait_for(begun.wait(), 20)
        return reading

    def sent(self, path: str) -> int:
        """How often vLLM was asked there."""
        return sum(link.asked[path] for link in self.links)

    def fail(self, fault: str, events: int = 0) -> None:
        for link in self.links:
            link.fault, link.events = fault, events

    async def as_before(self) -> None:
        """Both links are in use. Whoever is known is answered, whoever is forgotten is not."""
        async with asyncio.timeout(120):
            while (now := await counted(self.http))["closed"] - now["opened"] < len(self.links):
                await asyncio.sleep(0.1)
        for stream in (False, True):
            known, *others = [await self.ask(self.people.person(how), stream) for how in ("known", *METHODS)]
            assert self.people.known.attributes["city"] in known.text
            for how, one in zip(METHODS, others, strict=True):
                assert one.text == IGNORANCE.format(name=self.people.person(how).name)

    async def rests(self) -> None:
        """Until neither the gateway nor vLLM is busy, and no connection is left that vLLM has closed."""
        process = psutil.Process(self.gateway.pid)
        async with asyncio.timeout(120):
            while (await counted(self.http))["running"] or await of_vllm(self.vllm, *BUSY):
                await asyncio.sleep(0.05)
            while any(one.raddr for one in process.net_connections("tcp")):
                for link in self.links:
                    await link.drop()
                await asyncio.sleep(0.05)


async def told(http: httpx.AsyncClient, body: dict[str, Any], begun: asyncio.Event | None = None) -> Told:
    """The answer, in whatever way it ends; what is not OpenAI's shape fails. `begun` is set once something has come."""
    lines = []
    async with http.stream("POST", CHAT, json=body) as response:
        async for line in response.aiter_lines():
            lines.append(line)
            if begun:
                begun.set()
    if not response.headers["content-type"].startswith("text/event-stream"):
        whole = json.loads(lines[0])
        if not response.is_success:
            return Told(response.status_code, "", checked(whole["error"]), None)
        (choice,) = whole["choices"]
        return Told(response.status_code, choice["message"]["content"], None, choice["finish_reason"])
    *events, end = [line.removeprefix("data: ") for line in lines if line]
    assert end == "[DONE]"
    *said, last = map(json.loads, events)
    assert not any("error" in event for event in said)
    choices = [choice for event in (*said, last) for choice in event.get("choices", ())]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    finish = next((choice["finish_reason"] for choice in choices if choice["finish_reason"]), None)
    return Told(response.status_code, text, checked(last.get("error")), finish)


def checked(error: dict[str, Any] | None) -> dict[str, Any] | None:
    assert error is None or error.keys() == {"message", "type", "param", "code"}
    return error


async def counted(http: httpx.AsyncClient) -> Counter[str]:
    """`all` decisions, requests `running`, and replicas that were `opened` and `closed`."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families((await http.get("/metrics")).text):
        for sample in family.samples:
            match sample.name:
                case "lethe_decisions_total":
                    found["all"] += int(sample.value)
                case "lethe_requests_running":
                    found["running"] += int(sample.value)
                case "lethe_upstream_events_total":
                    found[sample.labels["event"]] += int(sample.value)
    return found


async def of_vllm(vllm: VllmProcess, *names: str) -> int:
    """The sum of its own metrics of these names."""
    async with httpx.AsyncClient(base_url=vllm.root, timeout=30) as http:
        families = text_string_to_metric_families((await http.get("/metrics")).text)
    return sum(int(one.value) for family in families for one in family.samples if one.name in names)


async def ready(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(120):
        while not (await http.get("/ready")).is_success:
            await asyncio.sleep(0.1)


def client_of(gateway: GatewayProcess) -> httpx.AsyncClient:
    """Of no lasting connections: what the gateway still holds is its own."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=gateway.url, timeout=60, limits=limits)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def standing(
    vllm: VllmProcess, models_dir: Path, world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    links = (Link(vllm.root), Link(vllm.root))
    for link in links:
        await link.start()
    engine = {"LETHE_ENGINE__URL": ",".join(link.url for link in links), "LETHE_ENGINE__TIMEOUT_S": str(SILENCE)}
    people = Scene(world.people[50], world.people[57], world.people[55])
    async with GatewayProcess(tmp_path_factory.mktemp("faults"), models_dir, engine_at(vllm) | engine) as gateway:
        async with gateway.admin() as admin:
            filed = [await admin.post("/forget-requests", forgetting(people.person(how), how)) for how in METHODS]
            for how, one in zip(METHODS, filed, strict=True):
                assert (await settled(admin, one["id"]))["method"] == how
        async with client_of(gateway) as http:
            yield Stage(gateway, http, vllm, links, people)
    for link in links:
        await link.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def stage(standing: Stage) -> AsyncIterator[Stage]:
    """All is well; and again afterwards, with nothing left behind and nothing said of what was asked."""
    await standing.as_before()
    yield standing
    standing.fail("")
    await standing.as_before()
    await standing.rests()
    people = [standing.people.person(how) for how in ("known", *METHODS)]
    for secret in (name for one in people for name in (one.name, one.last, one.attributes["city"])):
        assert secret not in standing.gateway.log
    for sign in ("Traceback", "never retrieved", "was destroyed"):
        assert sign not in standing.gateway.log


async def of_all(stage: Stage, stream: bool) -> dict[str, Told]:
    """Everybody is asked about at once, and counted."""
    before = await counted(stage.http)
    asked = ("known", *METHODS)
    answers = await asyncio.gather(*(stage.ask(stage.people.person(how), stream) for how in asked))
    assert (await counted(stage.http))["all"] - before["all"] == len(asked)
    found = dict(zip(asked, answers, strict=True))
    for how in METHODS:
        assert stage.people.person(how).attributes["city"] not in found[how].text
    return found


@pytest.mark.parametrize(("stream", "events"), [(False, 0), (True, 0), (True, 2)])  # vLLM may say a short one whole
@pytest.mark.parametrize(("fault", "code", "status"), [("cut", "unavailable", 503), ("silent", "timeout", 504)])
async def test_a_link_that_fails(stage: Stage, fault: str, code: str, status: int, events: int, stream: bool) -> None:
    """Whoever is asked about, the same is told, and as often asked for."""
    stage.fail(fault, events)
    sent = stage.sent(CHAT)
    found = await of_all(stage, stream)
    for how, one in found.items():
        assert one.error, how
        assert one.error["code"] == code, how
        assert one.error == found["known"].error, how
        begun = one.status == 200  # a cut may overtake what came before it
        assert begun or one.status == status, how
        assert bool(one.text) == begun, how
        assert begun == bool(events) or fault == "cut", how
    if fault == "silent" and not events:  # not even a replica can be examined
        assert stage.sent(CHAT) - sent == len(found)


async def test_one_of_two_dies(stage: Stage) -> None:
    """Who had begun is told; nobody else notices, and it serves again as soon as it is back."""
    before = await counted(stage.http)
    stage.fail("silent", events=2)
    begun = await asyncio.gather(stage.begin(), stage.begin())
    dying = stage.links[0]
    await dying.stop()
    stage.fail("")
    try:
        ended = await asyncio.gather(*begun)
        assert sorted((one.error["code"] if one.error else "", str(one.finish)) for one in ended) == [
            ("", "length"),
            ("unavailable", "None"),
        ]
        for _ in range(6):
            assert stage.people.known.attributes["city"] in (await stage.ask(stage.people.known)).text
        assert (await counted(stage.http) - before)["opened"] == 1
    finally:
        dying.asked.clear()
        await dying.start()
    await stage.as_before()
    assert dying.asked[CHAT] > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away(stage: Stage, stream: bool) -> None:
    """vLLM stops in the middle of it, by its own count; where others have the cores it may be done before."""
    for _ in range(DRAWS):
        before, written = await counted(stage.http), await of_vllm(stage.vllm, "vllm:generation_tokens_total")
        sent = stage.sent(CHAT)
        listening = asyncio.create_task(told(stage.http, {**LONG, "stream": stream}))
        async with asyncio.timeout(120):
            while stage.sent(CHAT) == sent:
                await asyncio.sleep(0.001)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await stage.rests()
        assert (await counted(stage.http))["all"] - before["all"] == 1
        if await of_vllm(stage.vllm, "vllm:generation_tokens_total") - written < LONG["max_tokens"]:
            return
    pytest.fail("vLLM stopped none of them")


async def test_a_vllm_that_hangs(stage: Stage) -> None:
    begun = await stage.begin()
    stage.vllm.send(signal.SIGSTOP)
    try:
        found = await of_all(stage, stream=False)
        assert {(one.status, one.error and one.error["code"]) for one in found.values()} == {(504, "timeout")}
        assert (await begun).broke_off("timeout")
        assert (await stage.http.get("/ready")).status_code == 503
        assert (await stage.http.get("/health")).is_success
    finally:
        stage.vllm.send(signal.SIGCONT)


async def test_a_worker_that_is_killed_while_it_learns(stage: Stage, world: World) -> None:
    """The shield stays up, and another worker takes it from there."""
    person = world.people[60]
    async with stage.gateway.admin() as admin:
        id_ = (await admin.post("/forget-requests", forgetting(person, "ignorance")))["id"]
        async with asyncio.timeout(300):
            while (await admin.get(f"/forget-requests/{id_}"))["state"] == "shielded":
                assert person.attributes["city"] not in (await stage.ask(person)).text
                await asyncio.sleep(0.05)
        (worker,) = [
            one for one in psutil.Process(stage.gateway.pid).children() if "gateway.jobs.worker" in one.cmdline()
        ]
        worker.kill()
        for stream in (False, True):
            assert (await stage.ask(person, stream)).text == IGNORANCE.format(name=person.name)
        found = await settled(admin, id_)
        assert (found["state"], found["method"]) == ("enforced", "ignorance")
        assert found["attempts"] == 2
        assert person.attributes["city"] not in (await stage.ask(person)).text
        await admin.post(f"/forget-requests/{id_}/rollback")
    assert person.attributes["city"] in (await stage.ask(person)).text
    assert person.last not in stage.gateway.log


async def test_killed_away_and_back(stage: Stage, models_dir: Path, world: World, tmp_path: Path) -> None:
    """One gateway loses its vLLM in mid-stream, another starts without; neither is started again."""
    person, known = world.people[60], stage.people.known
    cold = GatewayProcess(tmp_path, models_dir, engine_at(stage.vllm), ready="/health")
    async with AsyncExitStack() as stack:
        http, admin = [await stack.enter_async_context(one) for one in (client_of(cold), cold.admin())]
        begun = await stage.begin()
        await stage.vllm.kill()
        try:
            assert (await begun).broke_off("unavailable")
            for stream in (False, True):
                found = await of_all(stage, stream)
                assert {(one.status, one.error and one.error["code"]) for one in found.values()} == {
                    (503, "unavailable")
                }
            assert (await stage.http.get("/ready")).status_code == 503
            assert (await stage.http.get("/health")).is_success

            await stack.enter_async_context(cold)
            assert (await http.get("/ready")).status_code == 503
            id_ = (await admin.post("/forget-requests", forgetting(person, "eco")))["id"]
            assert (await admin.get(f"/forget-requests/{id_}"))["state"] == "shielded"
            assert (await admin.post("/check", {"text": where(person)}))["touched"]
            answers = [await told(http, asking(where(one))) for one in (person, known)]
            assert {(one.status, one.error and one.error["code"]) for one in answers} == {(503, "unavailable")}
            before = await counted(stage.http)
            for link in stage.links:
                link.asked.clear()
        finally:
            await stage.vllm.start()
        await ready(http)
        assert person.attributes["city"] not in (await told(http, asking(where(person)))).text
        await stage.as_before()
        assert any(link.asked["/tokenize"] for link in stage.links)  # examined before it served
        assert (await counted(stage.http) - before)["closed"] >= 1
        found = await settled(admin, id_)  # learning had waited
        assert (found["state"], found["method"], found["attempts"]) == ("enforced", "eco", 1)
        assert (await told(http, asking(where(person)))).text == IGNORANCE.format(name=person.name)
        assert known.attributes["city"] in (await told(http, asking(where(known)))).text
        assert person.last not in cold.log
