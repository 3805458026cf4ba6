"""Who works on what: leases on forget requests that wait for learning or verification."""

from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Conflict
from gateway.registry.states import WORK
from gateway.registry.tables import requests


async def claim(connection: AsyncConnection, worker: str, now: datetime, until: datetime) -> str | None:
    """The id of the request that this worker has from now on, None when nothing waits.

    Fewest attempts first, then the oldest, so that one that always fails starves nobody. A worker
    does one thing at a time: what it held before, it has lost in a crash, and may claim again.
    """
    free = or_(requests.c.worker.is_(None), requests.c.worker == worker, requests.c.leased_until <= now)
    query = select(requests.c.id).where(requests.c.state.in_(WORK), free)
    found = await connection.scalar(query.order_by(requests.c.attempts, requests.c.id).limit(1))
    if found is None:
        return None
    taken = update(requests).where(requests.c.id == found)
    await connection.execute(taken.values(worker=worker, leased_until=until, attempts=requests.c.attempts + 1))
    return str(found)


async def renew(connection: AsyncConnection, id: str, worker: str, until: datetime) -> None:
    """The lease lasts longer.

    Raises:
        Conflict: it is no longer this worker's; the work is to be dropped.
    """
    mine = update(requests).where(requests.c.id == id, requests.c.worker == worker)
    if (await connection.execute(mine.values(leased_until=until))).rowcount != 1:
        raise Conflict(f"The lease on {id} is lost.")


async def release(connection: AsyncConnection, id: str, worker: str) -> None:
    """Nobody's again; nothing happens when it is not this worker's."""
    mine = update(requests).where(requests.c.id == id, requests.c.worker == worker)
    await connection.execute(mine.values(worker=None, leased_until=None))
