"""What every endpoint shares: reading a body within its limit, and answering as long as somebody listens."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from gateway.core import Core
from gateway.errors import TooLarge

T = TypeVar("T")

_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


class Json(Response):
    """JSON by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Bytes of the content."""
        return orjson.dumps(content)


class EventStream(Response):
    """Server-sent events from a generator, which is closed as soon as the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application of this response."""
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            failed, _ = await asyncio.gather(sending, gone, return_exceptions=True)
        if isinstance(failed, Exception):
            raise failed  # for the edge to log

    async def _send(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            with suppress(OSError):  # a server may say so here that the client is gone
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                try:
                    async for event in events:
                        await send({"type": "http.response.body", "body": event, "more_body": True})
                except Exception:  # its last words were sent; the response ends all the same
                    await send(_END)
                    raise
                await send(_END)


class Post(Route):
    """A route that reads its own body: a third of the cost of one of FastAPI's, which reads and checks for it."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        super().__init__(path, endpoint, methods=["POST"])

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette's; it also leaves its name, as FastAPI's do."""
        match, child = super().matches(scope)
        return match, {**child, "route": self}


def core_of(request: Request) -> Core:
    """The core behind a request."""
    found: Core = request.app.state.core
    return found


async def body_of(request: Request, limit: int) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: more than `limit` bytes, as soon as that is known.
        ClientGone: it went away in the middle of it.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(f"The body has {declared} bytes; the limit is {limit}.")
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"The body has more than {limit} bytes, which is the limit.")
            chunks.append(chunk)
    except ClientDisconnect:
        raise ClientGone from None
    return b"".join(chunks)


async def while_listening(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes away.

    Raises:
        ClientGone: it went away.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(_disconnect(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
