import asyncio
from datetime import datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.connection import Exchange, Pool, _Connection

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
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


def pool_of(peer, silence=20.0, **rest):
    return Pool(peer.url, silence=silence, connect=5.0, **rest)


async def whole(exchange) -> bytes:
    body = []
    while data := await exchange.more():
        body.append(data)
    exchange.close()
    return b"".join(body)


@pytest.fixture
def fetched(peer):
    """Status, headers and body of one answer; how many connections are then kept."""

    async def fetch(*parts, **rest):
        one = await peer(say(*parts, **rest))
        pool = pool_of(one)
        try:
            exchange = await pool.send("POST", "x", b"{}")
            return exchange.status, exchange.headers, await whole(exchange), pool.connections
        finally:
            await pool.close()

    return fetch


async def test_what_is_sent(peer):
    one = await peer(say(SIZED))
    pool = pool_of(one, headers={"authorization": "Bearer k"})
    for path in ("chat/completions", "/health"):
        await whole(await pool.send("POST", path, b"{}", {"x-request-id": "7"}))
    await pool.close()
    headers = {
        "content-length": "2",
        "host": f"127.0.0.1:{one.port}",
        "accept-encoding": "identity",
        "authorization": "Bearer k",
        "x-request-id": "7",
    }
    assert one.requests == [("POST", "/v1/chat/completions", headers, b"{}"), ("POST", "/health", headers, b"{}")]
    assert one.opened == 1


@pytest.mark.parametrize(
    ("parts", "close", "body", "kept"),
    [
        ((SIZED,), False, b"hello", 1),
        ((b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" + SIZED,), False, b"hello", 1),
        ((CHUNKED, chunk(b"hel"), chunk(b"lo") + b"0\r\n\r\n"), False, b"hello", 1),
        ((CHUNKED, chunk(b"hello") + b"0\r\nx-trailer: 1\r\n\r\n"), False, b"hello", 1),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), False, b"", 1),
        ((b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",), False, b"hello", 0),
        ((b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"), True, b"hello", 0),
        ((b"HTTP/1.0 200 OK\r\n\r\nhello",), True, b"hello", 0),
        ((SIZED + SIZED,), False, b"hello", 0),
        ((SIZED + b"junk",), False, b"hello", 0),
    ],
)
async def test_bodies_end_where_they_end_and_only_clean_connections_are_kept(fetched, parts, close, body, kept):
    _, headers, found, connections = await fetched(*parts, close=close)
    assert (found, connections) == (body, kept)
    assert "x" not in headers


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"HTTP/1.1 200",),
        (b"hello there\r\n\r\n",),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",),
        (CHUNKED, chunk(b"hello")),
        (CHUNKED, chunk(b"hello"), b"not a size\r\n"),
        (CHUNKED, chunk(b"hello")[:-4]),
    ],
)
async def test_what_is_cut_or_not_http_is_an_error_without_its_words(fetched, parts):
    with pytest.raises(ConnectionError) as caught:
        await fetched(*parts, close=True)
    assert "hello" not in str(caught.value)


async def test_a_connection_is_used_again_and_many_at_a_time_are_many(peer):
    one = await peer(say(SIZED))
    pool = pool_of(one)
    for _ in range(3):
        await whole(await pool.send("GET", "x"))
    assert one.opened == pool.connections == 1
    together = [await pool.send("GET", "x") for _ in range(3)]
    assert one.opened == pool.connections == 3
    for exchange in together:
        await whole(exchange)
    await whole(await pool.send("GET", "x", fresh=True))
    assert (one.opened, pool.connections) == (4, 1)
    await pool.close()
    with pytest.raises(ConnectionError):
        await pool.send("GET", "x")


async def test_a_connection_that_the_server_closed_is_not_used_again(peer):
    one = await peer(say(SIZED))
    pool = pool_of(one)
    await whole(await pool.send("GET", "x"))
    for writer in one.writers:
        writer.close()
    async with asyncio.timeout(5):
        while pool.connections:
            await asyncio.sleep(0)
    await whole(await pool.send("GET", "x"))
    await pool.close()


async def test_a_connection_that_speaks_unasked_is_not_used_again(peer):
    one = await peer(say(SIZED))
    pool = pool_of(one)
    await whole(await pool.send("GET", "x"))
    for writer in one.writers:
        writer.write(SIZED.replace(b"hello", b"other"))
    async with asyncio.timeout(5):
        while pool.connections:
            await asyncio.sleep(0)
    assert await whole(await pool.send("GET", "x")) == b"hello"
    await pool.close()


async def test_leaving_in_the_middle_closes(peer):
    one = await peer(say(CHUNKED, chunk(b"hello")))
    pool = pool_of(one)
    exchange = await pool.send("GET", "x")
    assert await exchange.more() == b"hello"
    exchange.close()
    exchange.close()
    assert pool.connections == 0
    async with asyncio.timeout(5):
        await one.left.wait()


async def test_silence_before_and_within_a_reply(peer):
    for parts in ((), (CHUNKED, chunk(b"hello"))):
        pool = pool_of(await peer(say(*parts)), silence=0.05)
        with pytest.raises(TimeoutError):
            await whole(await pool.send("GET", "x"))
        await pool.close()


async def test_closing_the_pool_breaks_off_what_is_read(peer):
    one = await peer(say(CHUNKED))
    pool = pool_of(one)
    exchange = await pool.send("GET", "x")
    reading = asyncio.create_task(exchange.more())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(ConnectionError):
        await reading
    exchange.close()
    assert pool.connections == 0


async def test_a_slow_reader_holds_the_server_back(peer):
    sent = 0

    async def answer(writer, request):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 * 2**20))
        for _ in range(32):
            writer.write(bytes(2**20))
            await writer.drain()
            sent += 1

    pool = pool_of(await peer(answer))
    exchange = await pool.send("GET", "x")
    before = -1
    while before != sent:  # until the sockets are full
        before = sent
        await asyncio.sleep(0.05)
    assert sent < 16
    assert len(await whole(exchange)) == 32 * 2**20
    assert pool.connections == 1
    await pool.close()


@pytest.mark.parametrize(
    "url", ["ftp://h/v1", "h:80/v1", "http:///v1", "http://user:key@h/v1", "http://h/v1?x=1", "http://h:x/"]
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ValueError):
        Pool(url, silence=1.0, connect=1.0)


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
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    one = await peer(say(SIZED), certificate=certificate)
    pool = Pool(one.url.replace("http:", "https:"), silence=20.0, connect=5.0)
    if trusted:
        for _ in range(2):
            assert await whole(await pool.send("GET", "x", b"y" * 100_000)) == b"hello"
        assert one.opened == pool.connections == 1
    else:
        with pytest.raises(ConnectionError):
            await pool.send("GET", "x")
        assert pool.connections == len(one.requests) == 0
    await pool.close()


@pytest.mark.parametrize(
    ("path", "header"),
    [("x", {"x": "a\r\ny: b"}), ("x", {"x\n": "a"}), ("x", {"x": "\u20ac"}), ("x HTTP/1.1\r\ny: b", {}), ("x y", {})],
)
async def test_nothing_breaks_out_of_its_line(peer, path, header):
    one = await peer(say(SIZED))
    pool = pool_of(one)
    with pytest.raises(ValueError):
        await pool.send("GET", path, headers=header)
    assert one.opened == pool.connections == 0


class Wire:
    """A transport that goes nowhere."""

    def __init__(self):
        self.aborted = self.paused = False

    def writelines(self, parts):
        pass

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.aborted

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def abort(self):
        self.aborted = True


@given(st.lists(st.integers(0, 700_000), max_size=12), st.lists(st.sampled_from([1, 20, 300_000]), max_size=4))
def test_a_reply_is_the_same_at_every_split(places, sizes):
    stream = CHUNKED + b"".join(chunk(b"x" * size) for size in sizes) + b"0\r\n\r\n"
    cuts = sorted({min(place, len(stream)) for place in places})

    async def main():
        pool, wire = Pool("http://h/v1", silence=1.0, connect=1.0), Wire()
        connection = _Connection(pool)
        connection.connection_made(wire)
        exchange = Exchange(pool, connection, 1.0)
        connection.send(exchange, b"", b"")
        found = b""
        for left, right in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            connection.data_received(stream[left:right])
            while exchange._body:
                found += await exchange.more()
                assert not wire.paused
        assert (exchange.status, exchange.headers["transfer-encoding"]) == (200, "chunked")
        assert (await exchange.more(), found) == (b"", b"x" * sum(sizes))
        exchange.close()
        assert (pool.connections, wire.aborted) == (1, False)

    asyncio.run(main())
