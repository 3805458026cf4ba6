"""What is around a gateway fails: a clear error, nothing undecided, nothing left behind, and then all is as before."""

import asyncio
import json
import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from gateway.client import ClientError
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess

CHAT = "/v1/chat/completions"
TEXT = "Certainly, and here is all of it, said in one go: read slowly, and then read again what was hard. " * 3
WORDS = TEXT.split(" ")
HELD = 4  # requests that this gateway answers at a time
SILENCE = 0.6  # seconds in which the upstream must say something

# Fault → what a client is told. The first come before an answer has begun, the others in the middle of it.
BEFORE = {
    "500": (503, "unavailable"),
    "503": (503, "unavailable"),
    "429": (503, "unavailable"),
    "504": (504, "timeout"),
    "401": (503, "unavailable"),
    "refused": (503, "unavailable"),
    "reset": (503, "unavailable"),
    "nonsense": (503, "unavailable"),
    "page": (503, "unavailable"),
    "silent": (504, "timeout"),
}
MIDWAY = {
    "cut": (503, "unavailable"),
    "short": (503, "unavailable"),
    "stalled": (504, "timeout"),
    "garbled": (502, "engine_error"),
    "failed": (503, "unavailable"),
}


@dataclass
class Upstream:
    """An OpenAI server of bare sockets that says `TEXT`, wrong in the way of `fault`."""

    fault: str = ""
    pace: float = 0.0  # seconds between words
    asked: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        await self.drop()

    async def drop(self) -> None:
        """Close all connections."""
        while self._writers:  # a ping may come meanwhile
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        answering = asyncio.create_task(self._requests(reader, writer))
        with suppress(ConnectionError):
            await writer.wait_closed()  # whatever it is at
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        self._writers.discard(writer)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = head.partition("content-length: ")[2].partition("\r\n")[0]
                await reader.readexactly(int(size or 0))
                if head.startswith("get"):
                    self._whole(writer, 200, {"object": "list", "data": [{"id": "mock"}]})
                else:
                    self.asked += 1
                    await self._answer(writer)
                await writer.drain()
        writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        match self.fault:
            case status if status.isdecimal():
                self._whole(writer, int(status), {"error": {"message": f"secret of {status}", "param": None}})
            case "reset":
                writer.transport.abort()
            case "nonsense":
                writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            case "page":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>")
            case "silent":
                await asyncio.Event().wait()
            case _:
                await self._stream(writer)

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for i, word in enumerate(WORDS):
            if self.fault in MIDWAY and i == len(WORDS) // 2:
                break
            last = i == len(WORDS) - 1
            said = {"content": word if last else f"{word} "}
            self._event(writer, {"choices": [{"index": 0, "delta": said, "finish_reason": "stop" if last else None}]})
            if self.pace:
                await asyncio.sleep(self.pace)
        match self.fault:
            case "cut":
                await writer.drain()
                writer.transport.abort()
            case "stalled":
                await asyncio.Event().wait()
            case "garbled":
                self._chunk(writer, b'data: {"choices": [\n\n')
            case "failed":
                self._event(writer, {"error": {"message": "the secret of the engine", "code": 500}})
        if self.fault != "short":
            self._chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")

    def _event(self, writer: asyncio.StreamWriter, value: Any) -> None:
        self._chunk(writer, b"data: " + json.dumps(value).encode() + b"\n\n")

    def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _whole(self, writer: asyncio.StreamWriter, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


@dataclass(frozen=True)
class Scene:
    """A gateway before an upstream, which has forgotten `person`, and knows `other`."""

    gateway: GatewayProcess
    upstream: Upstream
    http: httpx.AsyncClient
    person: Person
    other: Person

    async def ask(self, person: Person, stream: bool = False) -> "Told":
        """Where somebody lives."""
        return await told(self.http, f"Where does {person.name} live?", stream)

    async def as_before(self) -> None:
        """Whoever is known is answered, whoever is forgotten is not, and the registry takes what is filed."""
        await ready(self.http)
        for stream in (False, True):
            assert (await self.ask(self.other, stream)).text == TEXT
            assert "Certainly" not in (await self.ask(self.person, stream)).text

    async def rests(self) -> int:
        """Files that the gateway holds once it answers nobody and has no connection, the upstream having closed its.

        Without those of the registry, which keeps a connection more for each that was ever needed at once.
        """
        process = psutil.Process(self.gateway.pid)
        async with asyncio.timeout(10):
            while (await counted(self.http))["running"]:
                await asyncio.sleep(0.02)
            while any(one.raddr for one in process.net_connections("tcp")):
                await self.upstream.drop()
                await asyncio.sleep(0.02)
        registry = [one for one in process.open_files() if Path(one.path).name.startswith("registry.db")]
        return int(process.num_fds()) - len(registry)


@dataclass(frozen=True)
class Told:
    """What a client read: the text, the status and, where there was one, the error."""

    status: int
    text: str
    error: dict[str, Any] | None
    headers: httpx.Headers


async def told(http: httpx.AsyncClient, question: str, stream: bool) -> Told:
    """The answer, in whatever way it ends; what is not OpenAI's shape fails."""
    body = {"model": "mock", "messages": [{"role": "user", "content": question}], "stream": stream}
    response = await http.post(CHAT, json=body)
    text, error = "", None
    if response.headers["content-type"].startswith("text/event-stream"):
        *events, end = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
        assert end == "[DONE]"
        for event in map(json.loads, events):
            assert error is None, "nothing follows an error"
            error = event.get("error")
            text += "".join(choice["delta"].get("content", "") for choice in event.get("choices", ()))
    elif response.is_success:
        text = response.json()["choices"][0]["message"]["content"]
    else:
        error = response.json()["error"]
    if error:
        assert error.keys() == {"message", "type", "param", "code"}
        assert "secret" not in error["message"]
    return Told(response.status_code, text, error, response.headers)


def client_of(gateway: GatewayProcess) -> httpx.AsyncClient:
    """Of no lasting connections: what the gateway still holds is its own."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=gateway.url, timeout=30, limits=limits)


async def counted(http: httpx.AsyncClient) -> Counter[str]:
    """Decisions by their kind, `decided` and `refused` together, and what is `running`."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families((await http.get("/metrics")).text):
        for sample in family.samples:
            match sample.name:
                case "lethe_decisions_total":
                    found[sample.labels["decision"]] += int(sample.value)
                    found["all"] += int(sample.value)
                case "lethe_requests_running":
                    found["running"] += int(sample.value)
                case "lethe_guard_failures_total":
                    found["guard failures"] += int(sample.value)
    return found


async def ready(http: httpx.AsyncClient, seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not (await http.get("/ready")).is_success:
            await asyncio.sleep(0.05)


def forgetting(person: Person) -> dict[str, Any]:
    return {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), "method": "ignorance"}


def settings_for(upstream: Upstream, **more: str) -> dict[str, str]:
    engine = {"KIND": "upstream", "URL": upstream.url, "MODEL": "mock", "TIMEOUT_S": str(SILENCE)}
    common = {f"LETHE_ENGINE__{name}": value for name, value in engine.items()}
    return common | {"LETHE_JOBS__ENABLED": "false", "LETHE_LIMITS__CONCURRENCY": str(HELD), **more}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def upstream() -> AsyncIterator[Upstream]:
    found = Upstream()
    await found.start()
    yield found
    await found.stop()


@asynccontextmanager
async def staged(upstream: Upstream, state: Path, models: Path, world: World, **more: str) -> AsyncIterator[Scene]:
    """The scene, on a gateway of its own."""
    async with GatewayProcess(state, models, settings_for(upstream, **more)) as gateway:
        async with gateway.admin() as admin:
            await admin.post("/forget-requests", forgetting(world.people[50]))
        async with client_of(gateway) as http:
            yield Scene(gateway, upstream, http, world.people[50], world.people[55])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def standing(
    upstream: Upstream, models_dir: Path, world: World, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with staged(upstream, tmp_path_factory.mktemp("faults"), models_dir, world) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="session")
async def scene(standing: Scene) -> AsyncIterator[Scene]:
    """The gateway, which must hold afterwards what it held before, and have said nothing of what it was asked."""
    await standing.as_before()
    files = await standing.rests()
    yield standing
    standing.upstream.fault, standing.upstream.pace = "", 0.0
    await standing.as_before()
    assert await standing.rests() <= files
    for secret in (
        standing.person.name,
        standing.person.last,
        standing.other.name,
        "Where does",
        "Certainly",
        "secret",
    ):
        assert secret not in standing.gateway.log
    for sign in ("Traceback", "never retrieved", "was destroyed"):
        assert sign not in standing.gateway.log


@pytest.mark.parametrize("fault", [*BEFORE, *MIDWAY])
async def test_an_upstream_that_fails(scene: Scene, fault: str) -> None:
    before, expected = await counted(scene.http), (BEFORE | MIDWAY)[fault]
    scene.upstream.fault = fault
    if fault == "refused":
        await scene.upstream.stop()
    asked = [(person, stream) for person in (scene.other, scene.person) for stream in (False, True)]
    whole, streamed, *touched = await asyncio.gather(*(scene.ask(*one) for one in asked))
    health = await scene.http.get("/health")
    if fault == "refused":
        assert (await scene.http.get("/ready")).status_code == 503
        await scene.upstream.start()

    assert (whole.status, whole.error and whole.error["code"]) == expected
    assert streamed.error
    assert streamed.error == whole.error
    assert streamed.status == (expected[0] if fault in BEFORE else 200)
    assert TEXT.startswith(streamed.text)
    assert bool(streamed.text) == (fault in MIDWAY)
    if expected[0] == 503:
        assert whole.headers["retry-after"] == "1"
    assert not any("Certainly" in one.text for one in touched)
    assert health.is_success
    decided = await counted(scene.http) - before
    assert decided == {"all": 4, "pass": 2, "touched": 2}


async def test_a_slow_upstream_is_waited_for(scene: Scene) -> None:
    scene.upstream.pace = SILENCE / 10  # all of it takes many times as long as it may be silent
    assert len(WORDS) / 10 > 2
    before = await counted(scene.http)
    answers = await asyncio.gather(*(scene.ask(scene.other, stream) for stream in (False, True)))
    assert [one.text for one in answers] == [TEXT, TEXT]
    assert await counted(scene.http) - before == {"all": 2, "pass": 2}


async def test_ten_times_too_much(scene: Scene) -> None:
    """As many as there is room for are answered, slow as it is; the others are told to come again."""
    before, seen = await counted(scene.http), scene.upstream.asked
    scene.upstream.pace = SILENCE / 2
    answering = [asyncio.create_task(scene.ask(scene.other, bool(i % 2))) for i in range(HELD)]
    async with asyncio.timeout(10):
        while scene.upstream.asked - seen < HELD:
            await asyncio.sleep(0.02)
    more = [((scene.other, scene.person)[i % 2], i % 4 < 2) for i in range(9 * HELD)]
    refused = await asyncio.gather(*(scene.ask(*one) for one in more))
    scene.upstream.pace = 0.0
    answered = await asyncio.gather(*answering)

    assert [(one.text, one.error) for one in answered] == [(TEXT, None)] * HELD
    for one in refused:
        assert (one.status, one.error and one.error["code"]) == (429, "overloaded")
        assert one.headers["retry-after"] == "1"
    assert scene.upstream.asked - seen == HELD
    assert await counted(scene.http) - before == {"all": 10 * HELD, "pass": HELD, "refused": 9 * HELD}


async def test_a_client_that_goes_away(scene: Scene) -> None:
    """Nobody is answered any more, neither here nor by the upstream."""
    scene.upstream.pace = SILENCE / 2
    before = await counted(scene.http)
    for stream in (False, True):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(scene.ask(scene.other, stream), 0.5)
    await scene.rests()
    assert await counted(scene.http) - before == {"all": 2, "pass": 2}


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """No file of the process grows, or is written at all."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def test_a_full_disk(scene: Scene, world: World) -> None:
    """Nothing more can be filed, or ended; what is in force is in force, and everybody else is answered."""
    late = world.people[57]
    async with scene.gateway.admin() as admin:
        listed = (await admin.get("/forget-requests"))["data"]
        with full_disk(scene.gateway.pid):
            with pytest.raises(ClientError, match="503: the registry is not available"):
                await admin.post("/forget-requests", forgetting(late), **{"Idempotency-Key": "late"})
            with pytest.raises(ClientError, match="503"):
                await admin.post(f"/forget-requests/{listed[-1]['id']}/rollback")
            assert (await admin.get("/forget-requests"))["data"] == listed
            assert (await scene.ask(late)).text == TEXT
            await scene.as_before()
        assert len((await admin.get("/forget-requests"))["data"]) == len(listed)
        filed = await admin.post("/forget-requests", forgetting(late), **{"Idempotency-Key": "late"})
        assert filed["state"] == "shielded"
        assert "Certainly" not in (await scene.ask(late)).text
        await admin.post(f"/forget-requests/{filed['id']}/rollback")


async def test_no_file_but_its_own_is_open(scene: Scene) -> None:
    """A library that reports to its makers would keep there what it has not sent yet."""
    state = scene.gateway.state_dir
    own = {state / name for name in ("serve.log", "registry.db", "registry.db-wal", "registry.db-shm")}
    assert {Path(one.path) for one in psutil.Process(scene.gateway.pid).open_files()} <= own


async def test_guards_that_cannot_decide(upstream: Upstream, models_dir: Path, world: World, tmp_path: Path) -> None:
    """No time to encode: nobody is answered by the model, and all is counted as what it is."""
    async with staged(upstream, tmp_path, models_dir, world, LETHE_GUARD__DEADLINE_S="0.000001") as scene:
        before, seen = await counted(scene.http), upstream.asked
        answers = await asyncio.gather(
            *(scene.ask(one, stream) for one in (scene.other, scene.person) for stream in (False, True))
        )
        assert [(one.status, one.error) for one in answers] == [(200, None)] * 4
        assert len({one.text for one in answers if scene.person.name not in one.text}) == 1
        assert not any("Certainly" in one.text for one in answers)
        assert upstream.asked == seen
        decided = await counted(scene.http) - before
        assert decided["guard failures"] > 0
        assert (decided["all"], decided["failed"]) == (4, 4)


async def test_an_upstream_that_comes_later(models_dir: Path, world: World, tmp_path: Path) -> None:
    """Started alone, the gateway answers nobody, and takes what is filed; then all comes by itself."""
    upstream = Upstream()
    await upstream.start()
    await upstream.stop()
    gateway = GatewayProcess(tmp_path, models_dir, settings_for(upstream), ready="/health")
    async with gateway, client_of(gateway) as http, gateway.admin() as admin:
        assert (await http.get("/ready")).status_code == 503
        filed = await admin.post("/forget-requests", forgetting(world.people[50]))
        assert filed["state"] == "shielded"
        scene = Scene(gateway, upstream, http, world.people[50], world.people[55])
        assert (await scene.ask(scene.other)).status == 503
        assert "Certainly" not in (await scene.ask(scene.person)).text
        await upstream.start()
        await scene.as_before()
    await upstream.stop()


async def test_told_to_end_it_closes_its_parts_first(tmp_path: Path, models_dir: Path) -> None:
    async with GatewayProcess(tmp_path, models_dir, {"LETHE_ENGINE__KIND": "scripted"}) as gateway:
        process = gateway._process
        assert process
        await gateway.stop()
        assert process.returncode == 0  # -15: killed by the signal itself, with all that it had laid out still there
