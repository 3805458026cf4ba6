"""One server of a fleet: requests to it, its replies, and its circuit breaker. aiohttp speaks HTTP.

No redirects, no cookies, no compression, no proxies from the environment: between a gateway and its
engine each of them would be a surprise. Foreign errors become ours here and nowhere else, while a reply
is read too, and never keep the upstream's words: they may quote the prompt.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

import orjson
from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)

from adapters.base import EngineError, EngineRejected, EngineTimeout, EngineUnavailable

CircuitEvent = Literal["retry", "opened", "closed"]

_FAILURES = 3  # in a row, and a replica is out
_FAILED = (500, 502, 503, 504)
_TOO_LATE = (408, 504)
_BAD = (400, 413, 422)
_READ = 64 * 2**20  # bytes of a reply that is read whole
_FRESH = 4.0  # seconds idle after which a connection is not trusted: uvicorn closes its own after five
_CLOSING = 1.0  # seconds for connections to close: one with a request that the server does not read never does
_JSON: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})


class Replica:
    """The server at `url`. It is `admitted`, or `out` and perhaps in `trouble`; it is born out.

    Not reached, broken off, silent, 500, 502, 503 and 504 are failures. Three in a row open its circuit, and
    the first two of these at once: another may answer there next. `identity` is that of the process examined.
    `outstanding` counts the requests it is answering, `turn` says when it was last chosen.

    Args:
        url: `http(s)://host[:port][/path]`.
        headers: sent with every request.
        timeout: seconds in which the server must say something while it is listened to.
        connect: seconds to reach it.
        event: see `Fleet`.

    Raises:
        ValueError: the URL is another.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        connect: float,
        event: Callable[[CircuitEvent], None],
    ) -> None:
        self.url, self.timeout = url, timeout
        self.outstanding = self.turn = 0
        self.trouble: EngineError | None = None
        self.identity: str | None = None
        self.lost = False  # a connection, since it was admitted
        self.out = asyncio.Event()
        self.out.set()
        self._base, self._connect = _base(url), connect
        self._headers = {"accept-encoding": "identity", **headers}
        self._sessions: dict[bool, ClientSession] = {}  # by whether each request has a connection of its own
        self._replies: set[Reply] = set()  # that are open
        self._closed = False
        self._failures = 0
        self._event = event

    @property
    def admitted(self) -> bool:
        """Whether it may serve."""
        return not self.out.is_set()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body at a path below the URL, or from the server's root where it begins with `/`."""
        return await _whole(await self.send("GET", path))

    async def post(self, path: str, body: bytes, *, judged: bool = True) -> tuple[int, bytes]:
        """The same of a JSON body. `judged`: see `send`."""
        return await _whole(await self.send("POST", path, body, judged=judged))

    async def send(
        self, method: str, path: str, body: bytes = b"", *, fresh: bool = False, judged: bool = True
    ) -> "Reply":
        """The reply, once its head came; it must be closed. `fresh`: not over a connection used before.

        `judged`: a status may be a failure of the replica, and not of what it was asked for.

        Raises:
            EngineUnavailable: not reached, or broken off.
            EngineTimeout: silent.
        """
        self.outstanding += 1
        try:
            with _edge():
                async with asyncio.timeout(self._connect + self.timeout):
                    response = await self._session(fresh).request(
                        method,
                        path,
                        data=BytesIO(body) if body else None,  # of bytes, aiohttp buffers all at once
                        headers=_JSON if body else None,
                        allow_redirects=False,
                    )
        except BaseException as error:
            self.outstanding -= 1
            if isinstance(error, EngineError):
                self.failed(lost=isinstance(error, EngineUnavailable))
            raise
        if judged and response.status in _FAILED:
            self.failed()
        reply = Reply(self, response)
        self._replies.add(reply)
        return reply

    async def close(self) -> None:
        """Close all connections; replies that are being read break off."""
        self._closed = True
        for reply in tuple(self._replies):
            reply.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                for session in self._sessions.values():
                    await session.close()

    def admit(self) -> None:
        """Close the circuit."""
        self.lost = False
        self.out.clear()
        self.trouble = None
        self._failures = 0
        self._event("closed")

    def failed(self, lost: bool = False) -> None:
        """One failure; `lost`: of the connection."""
        self._failures += 1
        self.lost = self.lost or lost
        if lost or self._failures >= _FAILURES:
            self.expel()

    def expel(self) -> None:
        """Open the circuit."""
        if self.admitted and not self._closed:
            self.out.set()
            self._event("opened")

    def succeeded(self) -> None:
        """One reply that came whole."""
        self._failures = 0

    def ended(self, reply: "Reply") -> None:
        """One reply that was closed."""
        self.outstanding -= 1
        self._replies.discard(reply)

    def _session(self, fresh: bool) -> ClientSession:
        if self._closed:
            raise EngineUnavailable("closed")
        if fresh not in self._sessions:  # inside the running loop, which aiohttp asks for
            self._sessions[fresh] = ClientSession(
                self._base,
                connector=TCPConnector(limit=0, keepalive_timeout=None if fresh else _FRESH, force_close=fresh),
                headers=self._headers,
                skip_auto_headers=("user-agent",),
                cookie_jar=DummyCookieJar(),
                # silence is timed here: sock_read forgets requests that are not read, and bodies that are not HTTP
                timeout=ClientTimeout(total=None, connect=self._connect),
                auto_decompress=False,
            )
        return self._sessions[fresh]


class Reply:
    """What a replica answers, while it comes."""

    def __init__(self, replica: Replica, response: ClientResponse) -> None:
        self.replica = replica
        self.status = response.status
        self._response = response
        self._open = True

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes: the reply itself, which is no generator, so that nothing is left where it is left.

        Raises:
            EngineUnavailable: it broke off.
            EngineTimeout: the replica fell silent.
        """
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if data := await self._more():
            return data
        raise StopAsyncIteration

    async def read(self) -> bytes:
        """All of the body.

        Raises:
            EngineError: it is above 64 MiB; else as `chunks`.
        """
        body = bytearray()
        async for data in self:
            body += data
            if len(body) > _READ:
                raise EngineError("the upstream's answer is too long")
        return bytes(body)

    async def finish(self, within: float = 1.0) -> None:
        """After the last event: wait a moment for the reply's end, so that its connection is used again."""
        with suppress(EngineError, TimeoutError):
            async with asyncio.timeout(within):
                async for _ in self:
                    pass

    async def refusal(self, params: Collection[str] = ()) -> EngineError:
        """What a status other than success means. Of the upstream's words only a field among `params` is kept."""
        if self.status in _TOO_LATE:
            return EngineTimeout("the upstream took too long")
        if self.status not in _BAD:
            return EngineUnavailable(f"the upstream answers {self.status}")
        try:
            param = orjson.loads(await self.read())["error"]["param"]
        except (EngineError, ValueError, KeyError, TypeError):
            param = None
        return EngineRejected("the upstream refuses this request", param if param in params else None)

    def close(self) -> None:
        """Give the connection back. Before the reply's end that closes it, and the server stops."""
        if self._open:
            self._open = False
            self._response.close()
            self.replica.ended(self)

    async def _more(self) -> bytes:
        try:
            with _edge():
                async with asyncio.timeout(self.replica.timeout):
                    data = await self._response.content.readany()
        except EngineError as error:
            self.replica.failed(lost=isinstance(error, EngineUnavailable))
            raise
        if not data and self.status not in _FAILED:
            self.replica.succeeded()
        return data


async def _whole(reply: Reply) -> tuple[int, bytes]:
    try:
        return reply.status, await reply.read()
    finally:
        reply.close()


def _base(url: str) -> str:
    parts = urlsplit(url)
    plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and not parts.query
    if not plain or parts.port == 0:  # which raises where it is no number
        raise ValueError("a server's URL is http(s)://host[:port][/path], without user and query")
    return f"{url.rstrip('/')}/"


@contextmanager
def _edge() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        if isinstance(error, ConnectionTimeoutError):  # nothing was asked, so nothing is silent
            raise EngineUnavailable("the upstream cannot be reached") from None
        raise EngineTimeout("the upstream took too long") from None
    except (ClientError, OSError, RuntimeError) as error:  # the last: a connection that closed while it was read
        raise EngineUnavailable(f"the upstream cannot be reached: {type(error).__name__}") from None
