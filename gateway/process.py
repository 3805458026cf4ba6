"""A gateway as a process of its own, on a free loopback port: for the demo, the benchmarks and the tests."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from gateway.client import AdminClient, ClientError

_READY_S = 120.0


class GatewayProcess:
    """`lethe serve` with its own state directory. An async context manager: ready on entry, ended on exit.

    Args:
        state_dir: registry, keys and artifacts; its `serve.log` takes what the process prints.
        models_dir: where the demo model lies, or will be trained.
        environment: more `LETHE_` variables.
        ready: the path that answers once it is; `/health` where its engine comes later.
    """

    def __init__(
        self,
        state_dir: Path,
        models_dir: Path,
        environment: Mapping[str, str] | None = None,
        *,
        ready: str = "/ready",
    ) -> None:
        self.state_dir = state_dir
        self._ready = ready
        self.admin_key = secrets.token_urlsafe(16)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
        self._environment = inherited | {
            "LETHE_STATE_DIR": str(state_dir),
            "LETHE_MODELS_DIR": str(models_dir),
            "LETHE_ADMIN_KEY": self.admin_key,
            "LETHE_PORT": str(self.port),
            **(environment or {}),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process, "not started"
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the process printed."""
        return (self.state_dir / "serve.log").read_text()

    def admin(self) -> AdminClient:
        """A client with the admin key."""
        return AdminClient(self.url, self.admin_key)

    async def start(self) -> float:
        """Start, or start again after `kill` or `stop`; seconds until it was ready.

        Raises:
            ClientError: it ended, or was not ready in two minutes.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        started = loop.time()
        with (self.state_dir / "serve.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.cli", "serve", env=self._environment, stdout=log, stderr=log
            )
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as http:
            while loop.time() - started < _READY_S:
                if self._process.returncode is not None:
                    raise ClientError(f"the gateway ended with status {self._process.returncode}; see its serve.log")
                try:
                    if (await http.get(self._ready)).is_success:
                        return loop.time() - started
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)
        await self.stop()
        raise ClientError("the gateway was not ready in time; see its serve.log")

    async def stop(self) -> None:
        """Ask it to end; insist after ten seconds."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """`kill -9`."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(how)
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
