"""Server programs, each on one core: started, asked what they cost, and ended by their process id."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import psutil
import yaml

from guards.base import LetheError

_READY_S = 120.0
_END_S = 10.0
_LITELLM = {  # as fast as it goes: no keys, no database, no telemetry, nothing fetched
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
}
_HOW_TO = (
    "LiteLLM's proxy is measured beside the gateway and is not installed. It wants an environment of its own: "
    "python3 -m venv .litellm && .litellm/bin/pip install 'litellm[proxy]==1.106.2', "
    "then LITELLM_PYTHON=.litellm/bin/python"
)


class ServerError(LetheError):
    """A program is not installed, ended, or was not ready in time."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process and all below it took so far, and what they hold now."""

    cpu_s: float
    resident: int  # bytes
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Reads it."""
        cpu, resident, files, threads = 0.0, 0, 0, 0
        root = psutil.Process(pid)
        for one in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                cpu += times.user + times.system
                resident += one.memory_info().rss
                files += one.num_fds()
                threads += one.num_threads()
        return cls(cpu, resident, files, threads)


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for what is measured, one for the driver and the mock upstream."""

    measured: int
    driver: int

    @classmethod
    def two(cls) -> Self:
        """The first two that this process may use.

        Raises:
            ServerError: there is only one.
        """
        try:
            measured, driver, *_ = sorted(os.sched_getaffinity(0))
        except ValueError:
            raise ServerError("the load benchmark needs two cores, one for the driver") from None
        return cls(measured, driver)


@contextmanager
def on(core: int) -> Iterator[None]:
    """This thread, and every process that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def program(
    command: Sequence[str], ready: str, log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """The process id of a server once it answers at `ready`; ended on exit.

    Raises:
        ServerError: it ended, or was not ready in two minutes; the message names its log.
    """
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **(environment or {})}, stdout=out, stderr=out
        )
    try:
        try:
            await asyncio.wait_for(_answers(process, ready, log), _READY_S)
        except TimeoutError:
            raise ServerError(f"{Path(command[0]).name} was not ready in time; see {log}") from None
        yield process.pid
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is None:
                process.send_signal(how)
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _END_S)


async def _answers(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    async with aiohttp.ClientSession() as http:
        while process.returncode is None:
            with suppress(aiohttp.ClientError):
                async with http.get(url) as response:
                    if response.ok:
                        return
            await asyncio.sleep(0.1)
    raise ServerError(f"the server ended with status {process.returncode}; see {log}")


def litellm_command(folder: Path, port: int, upstream: str) -> tuple[list[str], dict[str, str]]:
    """The command line and environment of a LiteLLM proxy with one worker before an upstream.

    Raises:
        ServerError: it is not installed; the message says how.
    """
    python = Path(os.environ.get("LITELLM_PYTHON") or ".litellm/bin/python").absolute()
    executable = python.parent / "litellm"
    if not executable.exists():
        raise ServerError(_HOW_TO)
    config = folder / "litellm.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model_list": [
                    {
                        "model_name": "mock",
                        "litellm_params": {"model": "openai/mock", "api_base": upstream, "api_key": "none"},
                    }
                ],
                "litellm_settings": {"telemetry": False, "num_retries": 0},
                "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
            }
        )
    )
    command = [str(executable), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--num_workers", "1"], _LITELLM


def free_port() -> int:
    """A loopback port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
