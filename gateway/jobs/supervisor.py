"""Watches the registry: swaps the policy when it changed, starts a worker when there is work, retires what expired."""

import asyncio
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.core import Core

log = logging.getLogger("lethe.jobs")

_REST_S = 5.0  # before a worker that died is started again


class Supervisor:
    """One task beside the server. Polling serves one replica and many alike."""

    def __init__(self, core: Core, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._core = core
        self._clock = clock
        self._worker: asyncio.subprocess.Process | None = None
        self._rest_until = 0.0

    async def run(self) -> None:
        """Until cancelled; then the worker is ended too."""
        try:
            while True:
                try:
                    await self._once()
                except Exception as error:  # a registry that is away comes back; enforcement goes on meanwhile
                    log.warning("supervision failed: %s", type(error).__name__)
                await asyncio.sleep(self._core.settings.jobs.poll_s)
        finally:
            await self._end_worker()

    async def _once(self) -> None:
        await self._core.enforcer.refresh()
        await self._core.learn_voice()
        for id_ in self._core.enforcer.expired(self._clock()):
            await self._core.lifecycle.retire(id_, actor="expiry")
        if self._core.settings.jobs.enabled and await self._core.registry.waiting():
            await self._start_worker()

    async def _start_worker(self) -> None:
        if self._worker and self._worker.returncode is None:
            return
        now = asyncio.get_running_loop().time()
        if self._worker and self._worker.returncode:
            self._worker, self._rest_until = None, now + _REST_S
        if now < self._rest_until:
            return
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.jobs.worker", stdin=asyncio.subprocess.PIPE
        )
        assert self._worker.stdin
        self._worker.stdin.write(self._core.settings.model_dump_json().encode() + b"\n")
        await self._worker.stdin.drain()  # and the pipe stays open: its end is how the worker learns of ours

    async def _end_worker(self) -> None:
        if self._worker and self._worker.returncode is None:
            assert self._worker.stdin
            self._worker.stdin.close()
            await self._worker.wait()
