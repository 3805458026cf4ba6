import asyncio
import gc
import socket
import ssl
import weakref
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from ipaddress import ip_address

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adapters.base import EngineError, EngineTimeout, EngineUnavailable
from gateway.engines.replica import Replica

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def say(*parts: bytes, close: bool = False):
    """An answer of these bytes, each sent by itself."""

    async def answer(writer, request):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.001)
        if close:
            writer.close()

    return answer


@asynccontextmanager
async def replica_of(peer, headers=(), url=None, **rest):
    """A replica, and the certainty that nothing of it is left."""
    options = {"timeout": 20.0, "connect": 5.0, "event": lambda name: None} | rest
    tasks = asyncio.all_tasks()
    replica = Replica(url or peer.url, dict(headers), **options)
    try:
        yield replica
    finally:
        await replica.close()
        assert replica.outstanding == 0
        async with asyncio.timeout(5):
            while peer.writers or asyncio.all_tasks() - tasks:
                await asyncio.sleep(0.001)


async def test_what_is_sent(peer, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    one = await peer(say(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"))
    url = one.url.replace("127.0.0.1", "localhost")  # of an address, cookies would not be kept anyway
    async with replica_of(one, {"authorization": "Bearer k"}, url=url) as replica:
        for path in ("chat/completions", "/health"):
            assert await replica.post(path, b"{}") == await replica.get(path) == (200, b"")
    every = {
        "host": f"localhost:{one.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "authorization": "Bearer k",
    }
    posted = every | {"content-type": "application/json", "content-length": "2"}
    assert one.requests == [
        ("POST", "/v1/chat/completions", posted, b"{}"),
        ("GET", "/v1/chat/completions", every, b""),
        ("POST", "/health", posted, b"{}"),
        ("GET", "/health", every, b""),
    ]
    assert one.opened == 1


@pytest.mark.parametrize(
    ("parts", "close", "body", "kept"),
    [
        ((SIZED,), False, b"hello", True),
        ((b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" + SIZED,), False, b"hello", True),
        ((CHUNKED, chunk(b"hel"), chunk(b"lo") + b"0\r\n\r\n"), False, b"hello", True),
        ((CHUNKED, chunk(b"hello") + b"0\r\nx-trailer: 1\r\n\r\n"), False, b"hello", True),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), False, b"", True),
        ((SIZED.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"),), False, b"hello", True),
        ((b"HTTP/1.1 307 X\r\nlocation: /other\r\ncontent-length: 5\r\n\r\nhello",), False, b"hello", True),
        ((b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",), False, b"hello", False),
        ((b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"), True, b"hello", False),
        ((b"HTTP/1.0 200 OK\r\n\r\nhello",), True, b"hello", False),
        ((SIZED + SIZED,), False, b"hello", False),
    ],
)
async def test_bodies_end_where_they_end_and_only_clean_connections_are_kept(peer, parts, close, body, kept):
    one = await peer(say(*parts, close=close))
    async with replica_of(one) as replica:
        for count in (1, 2):
            assert (await replica.post("x", b"{}"))[1] == body
            assert one.opened == (1 if kept else count)


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"HTTP/1.1 200",),
        (b"hello there\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",),
        (SIZED + b"junk",),
        (CHUNKED, chunk(b"hello")),
        (CHUNKED, chunk(b"hello"), b"not a size\r\n"),
        (CHUNKED, chunk(b"hello")[:-4]),
    ],
)
@pytest.mark.parametrize("close", [True, False])
async def test_what_is_cut_or_not_http_is_an_error_without_its_words(peer, parts, close):
    async with replica_of(await peer(say(*parts, close=close)), timeout=0.2, connect=0.2) as replica:
        with pytest.raises(EngineError) as caught:
            await replica.post("x", b"{}")
    assert "hello" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_a_connection_is_used_again_and_many_at_a_time_are_many(peer):
    count, together = 0, asyncio.Event()

    async def answer(writer, request):
        nonlocal count
        count += 1
        if count == 3 + 120:
            together.set()
        if count > 3:
            await together.wait()
        writer.write(SIZED)

    one = await peer(answer)
    async with replica_of(one) as replica:
        for _ in range(3):
            assert await replica.get("x") == (200, b"hello")
        assert one.opened == 1
        async with asyncio.timeout(10):
            assert set(await asyncio.gather(*(replica.get("x") for _ in range(120)))) == {(200, b"hello")}
        for opened in (121, 122):
            reply = await replica.send("POST", "x", b"{}", fresh=True)
            assert await reply.read() == b"hello"
            reply.close()
            assert one.opened == opened
        await replica.get("x")
        assert one.opened == 122
    with pytest.raises(EngineUnavailable):
        await replica.get("x")
    assert one.opened == 122


async def test_a_connection_that_was_idle_for_long_is_not_used_again(peer, monkeypatch):
    monkeypatch.setattr("gateway.engines.replica._FRESH", 0.01)
    one = await peer(say(SIZED))
    async with replica_of(one) as replica:
        for _ in range(2):
            await replica.post("x", b"{}")
            await asyncio.sleep(0.05)
    assert one.opened == 2


async def test_a_connection_that_the_server_closed_is_not_used_again(peer):
    one = await peer(say(SIZED))
    async with replica_of(one) as replica:
        await replica.post("x", b"{}")
        for writer in one.writers:
            writer.close()
        one.left.clear()
        await one.left.wait()
        assert await replica.post("x", b"{}") == (200, b"hello")


@pytest.mark.xfail(strict=True, reason="aiohttp keeps what an idle connection says: aio-libs/aiohttp#13656")
async def test_a_connection_that_speaks_unasked_is_not_used_again(peer):
    one = await peer(say(SIZED))
    async with replica_of(one) as replica:
        await replica.post("x", b"{}")
        for writer in one.writers:
            writer.write(SIZED.replace(b"hello", b"other"))
        await asyncio.sleep(0.05)
        assert await replica.post("x", b"{}") == (200, b"hello")


async def test_leaving_in_the_middle_closes_and_nothing_is_kept(peer):
    one = await peer(say(CHUNKED, chunk(b"hello")))
    async with replica_of(one) as replica:
        reply = await replica.send("GET", "x")
        assert await anext(reply.chunks()) == b"hello"
        reply.close()
        reply.close()
        assert replica.outstanding == 0
        async with asyncio.timeout(5):
            await one.left.wait()
        kept = weakref.ref(reply)
        del reply
        gc.collect()
        assert kept() is None


async def test_what_turned_out_not_to_be_http_while_nobody_read_is_an_error_at_once(peer):
    read = asyncio.Event()

    async def answer(writer, request):
        writer.write(CHUNKED + chunk(b"hello"))
        await read.wait()
        writer.write(b"not a size\r\n")

    one = await peer(answer)
    async with replica_of(one) as replica:
        reply = await replica.send("GET", "x")
        assert await anext(reply.chunks()) == b"hello"
        read.set()
        async with asyncio.timeout(5):
            await one.left.wait()
            with pytest.raises(EngineUnavailable):
                await anext(reply.chunks())
        reply.close()


async def test_a_server_that_is_not_reached_is_not_called_silent():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        host, port = full.getsockname()
        with ExitStack() as waiting:  # fill the queue of those who are not accepted
            for _ in range(4):
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex((host, port))
            await asyncio.sleep(0.05)
            replica = Replica(f"http://{host}:{port}/v1", {}, timeout=20.0, connect=0.1, event=lambda name: None)
            with pytest.raises(EngineUnavailable):
                async with asyncio.timeout(5):
                    await replica.get("x")
            await replica.close()


async def test_silence_before_and_within_a_reply(peer):
    for parts in ((), (CHUNKED, chunk(b"hello"))):
        async with replica_of(await peer(say(*parts)), timeout=0.1, connect=0.1) as replica:
            with pytest.raises(EngineTimeout):
                await replica.get("x")


async def test_a_server_that_does_not_read_is_silent_and_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("gateway.engines.replica._CLOSING", 0.05)
    reached, over = asyncio.Event(), asyncio.Event()

    async def deaf(reader, writer):
        reached.set()
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    for timeout in (0.1, 20.0):
        replica = Replica(url, {}, timeout=timeout, connect=0.1, event=lambda name: None)
        sending = asyncio.create_task(replica.post("x", bytes(2**25)))
        await reached.wait()
        reached.clear()
        await asyncio.sleep(0.05)
        if timeout < 1:
            with pytest.raises(EngineTimeout):
                await sending
        async with asyncio.timeout(5):
            await replica.close()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    over.set()
    server.close()


async def test_closing_breaks_off_what_is_read_and_what_is_awaited(peer):
    for parts in ((CHUNKED,), (CHUNKED, chunk(b"hello")), (b"",)):
        one = await peer(say(*parts))
        async with replica_of(one) as replica:
            reading = asyncio.create_task(replica.get("x"))
            while not one.requests:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            async with asyncio.timeout(5):
                await replica.close()
                with pytest.raises(EngineUnavailable):
                    await reading


async def test_a_slow_reader_holds_the_server_back(peer):
    sent = 0

    async def answer(writer, request):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 * 2**20))
        for _ in range(32):
            writer.write(bytes(2**20))
            await writer.drain()
            sent += 1

    one = await peer(answer)
    async with replica_of(one, timeout=0.2) as replica:
        reply = await replica.send("GET", "x")
        before = -1
        while before != sent:  # until the sockets are full
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 16
        await asyncio.sleep(0.3)
        assert len(await reply.read()) == 32 * 2**20
        reply.close()


@pytest.mark.parametrize(
    "url", ["ftp://h/v1", "h:80/v1", "http:///v1", "http://user:key@h/v1", "http://h/v1?x=1", "http://h:x/"]
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ValueError):
        Replica(url, {}, timeout=1.0, connect=1.0, event=print)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2120, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


@pytest.mark.parametrize("trusted", [True, False])
async def test_https_serves_whom_it_trusts(peer, certificate, monkeypatch, trusted):
    if trusted:
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=certificate))
    one = await peer(say(SIZED), certificate=certificate)
    async with replica_of(one, url=one.url.replace("http:", "https:")) as replica:
        if trusted:
            for _ in range(2):
                assert await replica.post("x", b"y" * 100_000) == (200, b"hello")
            assert one.opened == 1
        else:
            with pytest.raises(EngineUnavailable):
                await replica.get("x")
            assert not one.requests
