"""One server of a fleet: requests to it, its replies, and its circuit breaker.

Foreign errors become ours here and nowhere else, while a reply is read too, and never keep the
upstream's words: they may quote the prompt.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Literal

import orjson

from adapters.base import EngineError, EngineRejected, EngineTimeout, EngineUnavailable
from gateway.engines.connection import Exchange, Pool

CircuitEvent = Literal["retry", "opened", "closed"]

_FAILURES = 3  # in a row, and a replica is out
_FAILED = (500, 502, 503, 504)
_TOO_LATE = (408, 504)
_BAD = (400, 413, 422)
_READ = 64 * 2**20  # bytes of a reply that is read whole
_NONE: Mapping[str, str] = MappingProxyType({})
_JSON: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})


class Replica:
    """The server at `url`. It is `admitted`, or `out` and perhaps in `trouble`; it is born out.

    Not reached, broken off, silent, 500, 502, 503 and 504 are failures. Three in a row open its circuit.
    `outstanding` counts the requests it is answering, `turn` says when it was last chosen.
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
        self.url = url
        self.pool = Pool(url, headers, silence=timeout, connect=connect)
        self.outstanding = self.turn = 0
        self.trouble: EngineError | None = None
        self.out = asyncio.Event()
        self.out.set()
        self.probing = asyncio.Lock()
        self._failures = 0
        self._event = event

    @property
    def admitted(self) -> bool:
        """Whether it may serve."""
        return not self.out.is_set()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body at a path below the URL, or from the server's root where it begins with `/`."""
        return await _whole(await self.send("GET", path))

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The same of a JSON body."""
        return await _whole(await self.send("POST", path, body))

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = _NONE, *, fresh: bool = False
    ) -> "Reply":
        """The reply, once its head came; it must be closed. `fresh`: not over a connection used before.

        Raises:
            EngineUnavailable: not reached, or broken off.
            EngineTimeout: silent.
        """
        self.outstanding += 1
        try:
            with _edge():
                exchange = await self.pool.send(
                    method, path, body, {**_JSON, **headers} if body else headers, fresh=fresh
                )
        except BaseException as error:
            self.outstanding -= 1
            if isinstance(error, EngineError):
                self.failed()
            raise
        if exchange.status in _FAILED:
            self.failed()
        return Reply(self, exchange)

    def admit(self) -> None:
        """Close the circuit."""
        self.out.clear()
        self.trouble = None
        self._failures = 0
        self._event("closed")

    def failed(self) -> None:
        """One failure."""
        self._failures += 1
        if self.admitted and self._failures >= _FAILURES:
            self.out.set()
            self.pool.drop()
            self._event("opened")

    def succeeded(self) -> None:
        """One reply that came whole."""
        self._failures = 0


class Reply:
    """What a replica answers, while it comes. `headers` by their names in lower case."""

    def __init__(self, replica: Replica, exchange: Exchange) -> None:
        self.replica = replica
        self.status = exchange.status
        self.headers: Mapping[str, str] = exchange.headers
        self._exchange = exchange
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
            self._exchange.close()
            self.replica.outstanding -= 1

    async def _more(self) -> bytes:
        try:
            with _edge():
                data = await self._exchange.more()
        except EngineError:
            self.replica.failed()
            raise
        if not data and self.status not in _FAILED:
            self.replica.succeeded()
        return data


async def _whole(reply: Reply) -> tuple[int, bytes]:
    try:
        return reply.status, await reply.read()
    finally:
        reply.close()


@contextmanager
def _edge() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise EngineTimeout("the upstream took too long") from None
    except OSError as error:
        raise EngineUnavailable(f"the upstream cannot be reached: {type(error).__name__}") from None
