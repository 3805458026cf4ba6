"""What becomes of forget requests, for a benchmark that waits for it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from bench.asking import asking
from bench.counted import samples
from gateway.client import AdminClient
from gateway.process import GatewayProcess
from gateway.registry import TERMINAL
from guards.base import LetheError

_POLL_S = 0.1
_PATIENCE_S = 3600.0  # for one request; they are learned one after the other
_WORKER = b"gateway.jobs.worker"


class NotInForce(LetheError):
    """A forget request did not come into force, or not in time."""


async def in_force(gateway: GatewayProcess, ids: Sequence[str]) -> list[str]:
    """What enforces each request, once the gateway serves by it and its worker has ended.

    A request is enforced in the registry first: the worker is another process, and until the server has read the
    registry and loaded what was learnt, the shield answers. Once it is enforced the worker asks about earlier ones
    and may consolidate; it has ended where /proc knows of none, and on systems without /proc that is not waited for.

    Raises:
        NotInForce: one is over, or all of them took longer than an hour each.
    """
    async with _in_time(len(ids)), gateway.admin() as admin, asking(gateway) as http:
        methods = [await _settled(admin, id_) for id_ in ids]
        while True:
            if not _works(gateway.pid):
                revisions = [(await admin.get(f"/forget-requests/{id_}"))["revision"] for id_ in ids]
                if await _revision(http) >= max(revisions, default=0):
                    return methods
            await asyncio.sleep(_POLL_S)


def _works(pid: int) -> bool:
    """Whether a gateway's process has a worker."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid and _WORKER in (process / "cmdline").read_bytes().split(b"\0"):
                return True
    return False


async def _revision(http: httpx.AsyncClient) -> float:
    """Of the registry, as the gateway enforces it."""
    return max((sample.value for sample in await samples(http, "lethe_policy_revision")), default=0.0)


async def settled(admin: AdminClient, id_: str) -> str:
    """The method that is to enforce a request, once that is verified; `in_force`, once it does.

    Raises:
        NotInForce: it is over, or that took longer than an hour.
    """
    async with _in_time():
        return await _settled(admin, id_)


async def _settled(admin: AdminClient, id_: str) -> str:
    while True:
        found = await admin.get(f"/forget-requests/{id_}")
        if found["state"] in ("enforced", "failed"):
            return f"{found['method']}, {found['state']}"
        if found["state"] in TERMINAL:
            raise NotInForce(f"forget request {id_} is {found['state']}: nothing will enforce it")
        await asyncio.sleep(0.5)


@asynccontextmanager
async def _in_time(requests: int = 1) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_PATIENCE_S * max(1, requests)):
            yield
    except TimeoutError:
        given = f"{_PATIENCE_S / 3600:g} h for each of {max(1, requests)}"
        raise NotInForce(f"forget requests did not come into force in time, which was {given}") from None
