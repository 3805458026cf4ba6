"""Watches the registry: swaps the policy when it changed, starts a worker when there is work, retires what expired."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import uuid4

from adapters.base import EngineError
from gateway.core import Core
from gateway.jobs.targets import artifact_of
from gateway.settings import Settings

log = logging.getLogger("lethe.jobs")

_REST_S = 5.0  # before a worker that died is started again
_RESUME_EVERY = 20  # polls: received requests are looked for
_AT_HAND = timedelta(minutes=10)  # between two looks at what the engine has loaded: it unloads after half an hour
_STUCK = timedelta(seconds=10)  # longer than any shield takes: whoever filed it has given up
_END_S = 5.0  # for a worker to see that its supervisor is gone
_THREADS = "OMP_NUM_THREADS"


class Supervisor:
    """One task beside the server. Polling serves one replica and many alike."""

    def __init__(self, core: Core, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._core = core
        self._clock = clock
        self._worker: _Worker | None = None
        self._rest_until = 0.0
        self._turns = 0
        self._hearing: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._load_at = clock()

    async def run(self) -> None:
        """Until cancelled; then the worker is ended too."""
        swept = False
        try:
            while True:
                try:
                    if not swept:
                        await self._sweep()
                        swept = True
                    await self._once()
                except Exception as error:  # a registry that is away comes back; enforcement goes on meanwhile
                    log.warning("supervision failed: %s", type(error).__name__)
                await asyncio.sleep(self._core.settings.jobs.poll_s)
        finally:
            for task in filter(None, (self._hearing, self._loading)):
                task.cancel()
            if self._worker:
                await self._worker.end()

    async def _sweep(self) -> None:
        """Artifacts that no request in force refers to are deleted."""
        active = await self._core.registry.active()
        used = {digest for one in active for digest in (*one.artifacts.values(), artifact_of(one)) if digest}
        await self._core.artifacts.collect(used)

    async def _once(self) -> None:
        await self._core.enforcer.refresh()
        if self._hearing is None or self._hearing.done():  # beside the rest: a slow engine holds up nothing
            self._hearing = asyncio.create_task(self._core.learn_voice())
        if self._clock() >= self._load_at and (self._loading is None or self._loading.done()):
            self._load_at = self._clock() + _AT_HAND
            self._loading = asyncio.create_task(self._core.have_at_hand())
        if self._turns % _RESUME_EVERY == 0:
            await self._core.lifecycle.resume(self._clock() - _STUCK)
        self._turns += 1
        for id_ in self._core.enforcer.expired(self._clock()):
            await self._core.lifecycle.retire(id_, actor="expiry")
        await self._bury()
        rested = asyncio.get_running_loop().time() >= self._rest_until
        if self._core.settings.jobs.enabled and not self._worker and rested and await self._core.registry.waiting():
            with suppress(EngineError):  # there is nothing to learn from an engine that is away
                await self._core.engine.health()
                self._worker = await _Worker.start(self._core.settings)

    async def _bury(self) -> None:
        """Frees what a worker that has ended still held; one that died is not followed at once."""
        if self._worker is None or self._worker.process.returncode is None:
            return
        if self._worker.process.returncode:
            log.warning("a worker ended with status %d", self._worker.process.returncode)
            self._rest_until = asyncio.get_running_loop().time() + _REST_S
        await self._core.registry.abandon(self._worker.name)
        self._worker = None


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker process. Its standard input stays open: the end of it is how the worker learns of ours."""

    name: str
    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, settings: Settings) -> Self:
        name = f"worker-{uuid4().hex}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.jobs.worker"),
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, _THREADS: str(settings.jobs.threads or _spare_cores())},
        )
        assert process.stdin
        process.stdin.write(f"{name}\n{settings.model_dump_json()}\n".encode())
        await process.stdin.drain()
        return cls(name, process)

    async def end(self) -> None:
        if self.process.returncode is None:
            assert self.process.stdin
            self.process.stdin.close()
            try:
                await asyncio.wait_for(self.process.wait(), _END_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


def _spare_cores() -> int:
    """All that this process may use but one, and no more than its own threads are limited to.

    A team of threads waits for its slowest: beside a server that keeps a core, one more thread than there are cores
    left made ten minutes of one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    spare = max(cores - 1, 1)
    own = os.environ.get(_THREADS, "").split(",")[0].strip()  # a list is of nested teams
    return min(int(own), spare) if own.isdecimal() and int(own) else spare
