"""A real vLLM as a process of its own, on a free loopback port: its CPU build, for tests and for what is timed."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from rich.console import Console

import adapters
from bench.result import Figure
from guards.base import LetheError

NO_VLLM = "no vLLM is installed"
NOT_ASKED = "quick"

_READY_S = 180.0
_END_S = 10.0
_ARGUMENTS = (
    *("--enable-prompt-embeds", "--enable-prefix-caching", "--max-logprobs=28"),
    *("--dtype", "float32", "--enforce-eager"),
    *("--num-gpu-blocks-override", "512"),  # 64 Ki tokens, where a whole GiB would be zeroed at every start
)
_STEERING = ("--logits-processors", "adapters.uld.vllm_plugin:Uld", "--logprobs-mode", "processed_logprobs")
_ROOT = Path(adapters.__file__).parent.parent
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": "1",  # a second thread waits in a loop for its share of a tiny model
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # bound to a core, it would starve whatever else runs there
}

_log = logging.getLogger(__name__)


class VllmError(LetheError):
    """vLLM did not start."""


class NoVllm(VllmError):
    """None is installed."""


def vllm_python() -> Path:
    """The interpreter that has vLLM: `VLLM_PYTHON`, or that of the environment that `make vllm` makes.

    Raises:
        NoVllm: there is none.
    """
    python = Path(os.environ.get("VLLM_PYTHON") or ".vllm/bin/python").absolute()
    if not python.exists():
        raise NoVllm(f"no vLLM at {python}: `make vllm` installs it, VLLM_PYTHON says where it is")
    return python


def skipped(error: Exception, console: Console) -> str:
    """Why nothing was measured before vLLM, for a result: an error's own words name files of this machine.

    They are for the console, and for the log where nobody expected them.
    """
    if not isinstance(error, VllmError):
        _log.error("before vLLM", exc_info=error)
    console.print(f"not measured before vLLM: {error}", markup=False)
    if isinstance(error, NoVllm):
        return NO_VLLM
    return "vLLM did not start" if isinstance(error, VllmError) else f"it ended with {type(error).__name__}"


def all_or_missed(why: str) -> Sequence[Figure]:
    """What a result says where something before vLLM failed: no figure that is absent is taken for one that holds.

    Args:
        why: it was not measured; empty where it was. Where none is installed, or none was to be asked, nothing failed.
    """
    if why in ("", NO_VLLM, NOT_ASKED):
        return ()
    return [Figure.of("all that is measured before vLLM was measured", 0, ">=", 1)]


class VllmProcess:
    """vLLM's OpenAI server. An async context manager: ready on entry, ended on exit with all its processes.

    Args:
        model: folder of the model in the transformers format.
        log: the file that takes what its processes print; appended to.
        name: what it serves the model as.
        arguments: more of vLLM's command line; the last one wins.
        environment: more variables.
        assistants: the folder where a gateway lays them; with it, the server can steer answers.
        loras: how many of them it has slots for; with them, a gateway can load what it lays.
        rank: of the greatest of these, one of vLLM's own numbers.
    """

    def __init__(
        self,
        model: Path,
        log: Path,
        *,
        name: str = "demo",
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        assistants: Path | None = None,
        loras: int = 0,
        rank: int = 32,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.name = name
        self.log = log
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"
        self._command = (
            *(str(vllm_python()), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(model), "--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)),
            *_ARGUMENTS,
            *(_STEERING if assistants else ()),
            *(("--enable-lora", "--max-loras", str(loras), "--max-lora-rank", str(rank)) if loras else ()),
            *arguments,
        )
        steering = {"LETHE_ULD_ADAPTERS": str(assistants), "PYTHONPATH": str(_ROOT)} if assistants else {}
        loading = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} if loras else {}
        self._environment = {**os.environ, **_ENVIRONMENT, **steering, **loading, **(environment or {})}
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
        """Of the API server, which is also the id of the group of all its processes."""
        assert self._process, "not started"
        return self._process.pid

    async def start(self) -> float:
        """Start, or start again on the same port after `stop` or `kill`; seconds until it was ready.

        Raises:
            VllmError: it ended, or was not ready in three minutes.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            await asyncio.wait_for(self._answers(), _READY_S)
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise VllmError(f"vLLM was not ready in time; see {self.log}") from None
            raise
        return loop.time() - started

    async def stop(self) -> None:
        """Ask it to end; insist after ten seconds."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """`kill -9`, its workers too."""
        await self._end(signal.SIGKILL)

    def send(self, what: signal.Signals) -> None:
        """A signal to all its processes: after SIGSTOP it takes connections and answers nothing, until SIGCONT."""
        os.killpg(self.pid, what)

    async def _answers(self) -> None:
        assert self._process
        async with httpx.AsyncClient(timeout=5) as http:
            while self._process.returncode is None:
                with suppress(httpx.TransportError):
                    if (await http.get(f"{self.root}/health")).is_success:
                        return
                await asyncio.sleep(0.1)
        raise VllmError(f"vLLM ended with status {self._process.returncode}; see {self.log}")

    async def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(how)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _END_S)
        with suppress(ProcessLookupError):  # engine and workers outlive an API server that was killed
            self.send(signal.SIGKILL)
        await self._process.wait()
