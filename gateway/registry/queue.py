"""Who works on what: leases on forget requests that wait for learning or verification."""

from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Conflict
from gateway.registry.states import WORK
from gateway.registry.tables import requests


async def first(connection: AsyncConnection, now: datetime) -> str | None:
    """The id of the next request that nobody holds: fewest attempts, then oldest, so that none is starved."""
    free = or_(requests.c.worker.is_(None), requests.c.leased_until <= now)
    query = select(requests.c.id).where(requests.c.state.in_(WORK), free)
    found: str | None = await connection.scalar(query.order_by(requests.c.attempts, requests.c.id).limit(1))
    return found


async def claim(connection: AsyncConnection, worker: str, now: datetime, until: datetime) -> str | None:
    """The id of the request that this worker has from now on, None when nothing waits."""
    found = await first(connection, now)
    if found is not None:
        taken = update(requests).where(requests.c.id == found)
        await connection.execute(taken.values(worker=worker, leased_until=until, attempts=requests.c.attempts + 1))
    return found


async def renew(connection: AsyncConnection, id: str, worker: str, until: datetime) -> None:
    """The lease lasts longer.

    Raises:
        Conflict: it is no longer this worker's; the work is to be dropped.
    """
    mine = update(requests).where(requests.c.id == id, requests.c.worker == worker)
    if (await connection.execute(mine.values(leased_until=until))).rowcount != 1:
        raise Conflict(f"The lease on {id} is lost.")


async def release(connection: AsyncConnection, worker: str, id: str | None = None, *, tried: bool = True) -> None:
    """This request, or all that the worker has, is nobody's again; what was not `tried` was no attempt."""
    mine = update(requests).where(requests.c.worker == worker)
    if id is not None:
        mine = mine.where(requests.c.id == id)
    attempts = requests.c.attempts if tried else requests.c.attempts - 1
    await connection.execute(mine.values(worker=None, leased_until=None, attempts=attempts))
