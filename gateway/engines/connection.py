"""HTTP/1.1 from the client's side: connections to one server, kept open and used again. httptools parses.

What goes wrong leaves as a `ConnectionError` (not reached, broken off, not HTTP) or a `TimeoutError`
(silent), without the peer's words. No redirects, no cookies, no compression, no proxies from the
environment: between a gateway and its engine each of them would be a surprise.
"""

import asyncio
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

import httptools

_HEAD = 64 * 2**10  # bytes of header fields that a reply may have
_HELD = 256 * 2**10  # bytes of body that wait for their reader before the peer has to
_KEPT = 64  # idle connections
_FRESH = 4.0  # seconds idle after which a connection is not trusted: uvicorn closes its own after five
_NONE: Mapping[str, str] = MappingProxyType({})


class Pool:
    """Connections to the server at `url`, as many as are needed.

    Args:
        url: `http(s)://host[:port][/path]`.
        headers: sent with every request.
        silence: seconds in which the server must say something while it is listened to.
        connect: seconds to reach it.

    Raises:
        ValueError: the URL is another.
    """

    def __init__(self, url: str, headers: Mapping[str, str] = _NONE, *, silence: float, connect: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("a server's URL is http(s)://host[:port][/path], without user and query")
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/")
        self._headers = {"host": parts.netloc, "accept-encoding": "identity", **headers}
        self._silence, self._connect = silence, connect
        self._idle: dict[_Connection, float] = {}  # since when; the latest last
        self._busy: set[_Connection] = set()
        self._closed = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._idle) + len(self._busy)

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = _NONE, *, fresh: bool = False
    ) -> "Exchange":
        """Send a request and wait for the head of its reply. The exchange must be closed.

        Args:
            path: below the URL's own, or from the server's root where it begins with `/`.
            fresh: on a new connection; the idle ones are given up.

        Raises:
            ConnectionError, TimeoutError: see above.
            ValueError: a path or header that is none.
        """
        target = path if path.startswith("/") else f"{self._base}/{path}"
        lines = [f"{method} {target} HTTP/1.1", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (self._headers | dict(headers)).items()]
        if " " in target or any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a path with a space, or a line end within a line")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if fresh:
            self.drop()
        connection = self._kept() or await self._opened()
        self._busy.add(connection)
        exchange = Exchange(self, connection, self._silence)
        try:
            connection.send(exchange, head, body)
            await exchange.head()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def drop(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.popitem()[0].abort()

    async def close(self) -> None:
        """Close all connections; replies that are being read break off."""
        self._closed = True
        self.drop()
        for connection in self._busy:
            connection.abort()
        await asyncio.sleep(0)  # the transports close on the loop's next turn

    def release(self, connection: "_Connection", reusable: bool) -> None:
        """Take a connection back, to be used again where it can."""
        self._busy.discard(connection)
        if reusable and not self._closed and len(self._idle) < _KEPT:
            self._idle[connection] = asyncio.get_running_loop().time()
        else:
            connection.abort()

    def lost(self, connection: "_Connection") -> None:
        """A connection that is no more."""
        self._idle.pop(connection, None)

    def _kept(self) -> "_Connection | None":
        if self._idle:
            connection, since = self._idle.popitem()
            if asyncio.get_running_loop().time() - since < _FRESH:
                return connection
            connection.abort()
            self.drop()  # the others have been idle for longer
        return None

    async def _opened(self) -> "_Connection":
        if self._closed:
            raise ConnectionError("closed")
        try:
            async with asyncio.timeout(self._connect):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self), self._host, self._port, ssl=self._ssl
                )
        except (OSError, UnicodeError) as error:  # a TimeoutError is one: nothing was asked, so nothing is silent
            raise ConnectionError(f"cannot be reached: {type(error).__name__}") from None
        return connection


class Exchange:
    """One request's reply, as it comes. `headers` by their names in lower case."""

    def __init__(self, pool: Pool, connection: "_Connection", silence: float) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._pool, self._connection, self._silence = pool, connection, silence
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._held = 0
        self._read = 0  # bytes of the head
        self._ended = self._reusable = self._closed = False
        self._error: ConnectionError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> None:
        """Wait until `status` and `headers` are known."""
        while not self.status:
            if self._error:
                raise self._error
            await self._wait()

    async def more(self) -> bytes:
        """What came of the body since the last call, one byte at least; empty at its end."""
        while not self._body:
            if self._ended:
                return b""
            if self._error:
                raise self._error
            await self._wait()
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._held = 0
        self._connection.resume()
        return data

    def close(self) -> None:
        """Give the connection back; it is closed where the reply has not ended."""
        if not self._closed:
            self._closed = True
            self._pool.release(self._connection, self._connection.detach() and self._reusable and not self._body)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(self._silence, _silent, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the connection reports

    def feed(self, data: bytes) -> bool:
        """Bytes of the reply; whether more may come before they are read."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reusable = False
            self.broke(ConnectionError("what came is not HTTP"))
        self._wake()
        return self._held < _HELD

    def eof(self) -> None:
        """The peer has ended: the end of a body without a length, the breaking off of any other."""
        if self.status and not {"content-length", "transfer-encoding"} & self.headers.keys():
            self._ended = True
        self.broke(ConnectionError("broken off"))

    def broke(self, error: ConnectionError) -> None:
        """Nothing more will come."""
        self._error = self._error or error
        self._wake()

    # What httptools reports; anything raised here is an HttpParserError there

    def on_message_begin(self) -> None:
        if self._ended:
            raise ValueError("a reply to nothing")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._read += len(name) + len(value)
        if self._read > _HEAD:
            raise ValueError("too long a head")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
        else:  # an interim reply; the real one follows
            self.headers.clear()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        if self.status:
            self._ended = True
            self._reusable = self._parser.should_keep_alive()


class _Connection(asyncio.Protocol):
    """One socket, with at most one exchange at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._exchange: Exchange | None = None
        self._paused = self._gone = False

    def send(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        self._exchange = exchange
        if self._gone:
            exchange.broke(ConnectionError("broken off"))
        else:
            self._transport.writelines((head, body) if body else (head,))

    def detach(self) -> bool:
        """End the exchange; whether the connection is as new."""
        self._exchange = None
        transport = self._transport
        return not (self._paused or transport.is_closing() or transport.get_write_buffer_size())

    def resume(self) -> None:
        if self._paused and not self._gone:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not instances of it

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:  # nobody asked
            self._pool.lost(self)
            self.abort()
        elif not (self._exchange.feed(data) or self._paused):
            self._paused = True
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone = True
        self._pool.lost(self)
        if self._exchange is not None and error is None:
            self._exchange.eof()
        elif self._exchange is not None:
            self._exchange.broke(ConnectionError("broken off"))


def _silent(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("silent"))
