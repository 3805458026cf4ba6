"""The history of a forget request, as a page or as a stream that follows it to its end."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import Header, Query, Response
from pydantic import BaseModel, Field

from gateway.admin.access import Admin, Number, TheCore, admin_router, number_of
from gateway.api.http import EventStream
from gateway.registry import TERMINAL, Event, Registry, RegistryError

router = admin_router("forget requests")

_POLL_S = 0.25
_KEEP_ALIVE_S = 15.0  # proxies close what is silent for longer
_BATCH = 200


class EventView(BaseModel):
    """One thing that happened."""

    seq: int = Field(description="counts from 1 within the request; `Last-Event-ID` of a stream")
    at: datetime
    kind: str = Field(description="`created`, the name of a state it came into, `updated`, or a worker's own")
    actor: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> "EventView":
        """What the admin scope sees of an event."""
        return cls(seq=event.seq, at=event.at, kind=event.kind, actor=event.actor, data=dict(event.data))


class EventList(BaseModel):
    """One page, oldest first."""

    object: Literal["list"] = "list"
    data: list[EventView]
    next_cursor: int | None = Field(description="`after` of the following page; null on the last")


@router.get(
    "/forget-requests/{id}/events",
    response_model=EventList,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, 204: {"description": "over"}},
)
async def events(
    id: str,
    admin: Admin,
    core: TheCore,
    after: Number = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Any:
    """Its history. Ask for `text/event-stream` to follow it until it is retired or rolled back."""
    if "text/event-stream" not in accept:
        found = await core.registry.events(id, after, limit + 1)
        more = found[limit - 1].seq if len(found) > limit else None
        return EventList(data=[EventView.of(event) for event in found[:limit]], next_cursor=more)
    if last_event_id is not None:
        after = number_of("Last-Event-ID", last_event_id)
    over = (await core.registry.get(id)).state in TERMINAL
    if over and not await core.registry.events(id, after, 1):
        return Response(status_code=204)  # tells an EventSource not to come back
    return EventStream(follow(core.registry, id, after))


async def follow(
    registry: Registry, id: str, after: int, *, poll_s: float = _POLL_S, keep_alive_s: float = _KEEP_ALIVE_S
) -> AsyncGenerator[bytes, None]:
    """Server-sent events after number `after`, as they come, until the request is over.

    When the registry goes away the stream ends; a client resumes with the last id it saw.
    """
    clock = asyncio.get_running_loop().time
    silent_since = clock()
    yield b": following\n\n"
    while True:
        try:
            # the state first: what it says has its event already
            over = (await registry.get(id)).state in TERMINAL
            found = await registry.events(id, after, _BATCH)
        except RegistryError:
            return
        for event in found:
            yield _framed(event)
            after, silent_since = event.seq, clock()
        if len(found) == _BATCH:
            continue
        if over:
            return
        if clock() - silent_since >= keep_alive_s:
            yield b": still here\n\n"
            silent_since = clock()
        await asyncio.sleep(poll_s)


def _framed(event: Event) -> bytes:
    data = orjson.dumps(EventView.of(event).model_dump(mode="json"))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), data)
