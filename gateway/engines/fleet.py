"""Several replicas of one server behind one client: who gets a request, who may serve, what is sent again."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from adapters.base import EngineError, EngineUnavailable
from gateway.engines.replica import CircuitEvent, Replica, Reply

__all__ = ["Body", "CircuitEvent", "Fleet", "Replica", "Reply", "backoff"]

Body = bytes | Callable[[Replica], Awaitable[bytes]]
_RETRIED = (502, 503)  # said before anything was generated
_EVERY = 3.0  # seconds from ping to ping: no model is loaded in less


def backoff(attempt: int) -> float:
    """Seconds before probe `attempt` of a replica that is out: 0.25 to 0.5 at first, doubled up to 5 to 10."""
    return min(10.0, 0.5 * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0)


class Fleet:
    """Replicas of one server, each admitted only once it was examined, and examined again after it was away.

    A request goes to the admitted replica with the fewest outstanding. It is sent again, to another one where
    there is one, only before anything of a reply has come, and only where it is not running: no connection; a
    connection that closed (a server stops what nobody waits for); 502 and 503. Not after silence: it may be
    running still, and who is slow is not helped by more work. Not after 500: what brings one replica down must
    not visit them all. Not after 4xx: the answer would be the same.

    A replica whose connection was lost, or that failed three times in a row, is out. A task of the fleet's probes
    it after a back-off, until it answers `ping` with success and `examine` returns; the request that was lost
    has it probed at once, where no other is admitted. One that is admitted is pinged from time to time, or a
    restart between two requests would not be seen. The process that was examined last is not examined again.

    Args:
        urls: of the replicas, each up to and including `/v1`.
        timeout: seconds a replica may be silent.
        connect: seconds to reach one, and to answer a ping.
        retries: of one request.
        ping: a path that answers with success while the server can serve.
        examine: raises where a replica must not serve. Without it they serve from the start, and are not pinged.
        identify: what tells a replica's process from the one after a restart; None where nothing does.
        every: seconds from ping to ping.
        backoff: seconds before probe 0, 1, 2, … of a replica that is out.
        event: told of each `"retry"`, of circuits `"opened"` (a replica is out) and `"closed"` (it is admitted).
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        connect: float = 5.0,
        retries: int = 1,
        ping: str = "models",
        examine: Callable[[Replica], Awaitable[None]] | None = None,
        identify: Callable[[Replica], Awaitable[str | None]] | None = None,
        every: float = _EVERY,
        backoff: Callable[[int], float] = backoff,
        event: Callable[[CircuitEvent], None] = lambda name: None,
    ) -> None:
        if not urls:
            raise ValueError("a fleet needs a URL")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        connect = min(connect, timeout)
        self.replicas = tuple(
            Replica(url, headers, timeout=timeout, connect=connect, event=event) for url in dict.fromkeys(urls)
        )
        self._connect, self._retries, self._ping = connect, retries, ping
        self._examine, self._backoff, self._event = examine, backoff, event
        self._identify, self._every = identify, every
        self._turns = count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._attempts: dict[Replica, asyncio.Task[None]] = {}
        if examine is None:
            for replica in self.replicas:
                replica.admit()

    async def start(self) -> None:
        """Examine every replica once, all at a time; from now on those that are out are probed.

        Raises nothing: what is wrong with one that is out is its `trouble`.
        """
        await asyncio.gather(*(self._admitted(replica) for replica in self.replicas))
        self._tasks = [asyncio.create_task(self._tend(replica)) for replica in self.replicas]

    async def close(self) -> None:
        """End the tasks and close all connections; replies that are being read break off."""
        tasks = [*self._tasks, *self._attempts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        self._attempts = {}
        for replica in self.replicas:
            await replica.close()

    async def health(self) -> None:
        """Return once a replica that is admitted answers a ping or, where none does, one that was out is admitted.

        Raises:
            EngineUnavailable: neither came about in `connect` seconds each. An examination goes on all the same.
        """
        inside = [replica for replica in self.replicas if replica.admitted]
        outside = [replica for replica in self.replicas if not replica.admitted]
        if await _any(self._answers(replica) for replica in inside):
            return
        try:
            async with asyncio.timeout(self._connect):
                if await _any(self._admitted(replica) for replica in outside):
                    return
        except TimeoutError:
            pass
        raise EngineUnavailable("no replica of the upstream can serve")

    @asynccontextmanager
    async def stream(self, path: str, body: Body) -> AsyncGenerator[Reply, None]:
        """The reply to a POST of JSON. Leaving before its end closes the connection, and the server stops.

        A `body` may be made for the replica that gets it, once what it needs is there: an `EngineUnavailable` of
        that is as if the replica had not been reached.

        Raises:
            EngineUnavailable: no replica is admitted, or none that was asked could be reached.
            EngineTimeout: one fell silent.
        """
        reply = await self._sent(path, body)
        try:
            yield reply
        finally:
            reply.close()

    async def _sent(self, path: str, body: Body) -> Reply:
        tried: list[Replica] = []
        while True:
            if tried and not any(replica.admitted for replica in self.replicas):
                await self._admitted(tried[-1])
            replica = self._next(tried)
            last = len(tried) == self._retries
            try:
                data = body if isinstance(body, bytes) else await body(replica)
                reply = await replica.send("POST", path, data, fresh=replica in tried)
            except EngineUnavailable:
                if last:
                    raise
            else:
                if last or reply.status not in _RETRIED:
                    return reply
                reply.close()
            tried.append(replica)
            self._event("retry")

    def _next(self, tried: Sequence[Replica]) -> Replica:
        admitted = [replica for replica in self.replicas if replica.admitted]
        if not admitted:
            raise EngineUnavailable("no replica of the upstream can serve")
        chosen = min(admitted, key=lambda one: (one in tried, one.outstanding, one.turn))
        chosen.turn = next(self._turns)
        return chosen

    async def _tend(self, replica: Replica) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._examine is None else self._every):
                    await replica.out.wait()
            if replica.admitted:
                await self._look(replica)
                continue
            if replica.lost and await self._admitted(replica):  # mostly it is there still
                continue
            for attempt in count():
                await asyncio.sleep(self._backoff(attempt))
                if await self._admitted(replica):
                    break

    async def _look(self, replica: Replica) -> None:
        """Whether it is the process that was examined. What does not answer counts as for any request."""
        identity = await self._identity(replica) if await self._answers(replica) else None
        if identity not in (None, replica.identity):
            replica.expel()

    async def _admitted(self, replica: Replica) -> bool:
        """Whether it is, after the attempt under way or a new one; whoever waits for it may leave."""
        if replica not in self._attempts:
            self._attempts[replica] = asyncio.create_task(self._attempt(replica))
            self._attempts[replica].add_done_callback(lambda _: self._attempts.pop(replica, None))
        await asyncio.wait([self._attempts[replica]])
        return replica.admitted

    async def _attempt(self, replica: Replica) -> None:
        """Admit the replica, if it is out and may serve."""
        if replica.admitted:
            return
        if not await self._answers(replica):
            replica.trouble = EngineUnavailable("the upstream does not answer")
            return
        try:
            identity = await self._identity(replica)  # before: of what came while it was examined, nothing is known
            if self._examine is not None and (identity is None or identity != replica.identity):
                replica.identity = None
                await self._examine(replica)
                replica.identity = identity
        except EngineError as error:
            replica.trouble = error
        except Exception as error:  # a server that answers anything must not end the task that probes it
            replica.trouble = EngineError(f"the upstream cannot be examined: {type(error).__name__}")
        else:
            replica.admit()

    async def _identity(self, replica: Replica) -> str | None:
        try:
            async with asyncio.timeout(self._connect):
                return await self._identify(replica) if self._identify else None
        except (EngineError, TimeoutError):
            return None

    async def _answers(self, replica: Replica) -> bool:
        try:
            async with asyncio.timeout(self._connect):
                status, _ = await replica.get(self._ping)
        except EngineError:
            return False
        except TimeoutError:
            replica.failed()
            return False
        return 200 <= status < 300


async def _any(checks: Iterable[Coroutine[Any, Any, bool]]) -> bool:
    """Whether one of these holds, as soon as one does."""
    tasks = [asyncio.create_task(check) for check in checks]
    try:
        for done in asyncio.as_completed(tasks):
            if await done:
                return True
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
