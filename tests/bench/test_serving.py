"""The process that serves vLLM, with a stand-in for the interpreter that has it."""

import asyncio
import signal
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from bench import serving
from bench.serving import NO_VLLM, NOT_ASKED, VllmError, VllmProcess, all_or_missed, vllm_python

SERVER = """
import http.server, signal, subprocess, sys

subprocess.Popen(["sleep", "600"])  # vLLM's engine is a child too
signal.signal(signal.SIGTERM, {on_term})

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> VllmProcess:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{script}")
    python.chmod(0o755)
    monkeypatch.setenv("VLLM_PYTHON", str(python))
    return VllmProcess(tmp_path / "model", tmp_path / "vllm.log")


async def gone(process: psutil.Process) -> bool:
    for _ in range(500):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("why", "missed"), [("", 0), (NO_VLLM, 0), (NOT_ASKED, 0), ("vLLM did not start", 1), ("it ended with KeyError", 1)]
)
def test_only_what_failed_before_vllm_is_a_figure_that_does_not_hold(why: str, missed: int) -> None:
    assert [one.holds for one in all_or_missed(why)] == [False] * missed


@pytest.mark.parametrize("on_term", ["signal.SIG_DFL", "signal.SIG_IGN"])
async def test_all_of_it_ends_even_when_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_term: str) -> None:
    monkeypatch.setattr(serving, "_END_S", 0.2)
    async with stand_in(tmp_path, monkeypatch, SERVER.replace("{on_term}", on_term)) as server:
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
        assert len(processes) == 2
    assert all([await gone(one) for one in processes])


async def test_it_comes_back_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        stand_in(tmp_path, monkeypatch, SERVER.replace("{on_term}", "signal.SIG_DFL")) as server,
        httpx.AsyncClient(timeout=5) as client,
    ):
        await server.kill()
        with pytest.raises(httpx.TransportError):
            await client.get(f"{server.root}/health")
        await server.start()
        assert (await client.get(f"{server.root}/health")).is_success


async def test_it_can_be_made_to_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        stand_in(tmp_path, monkeypatch, SERVER.replace("{on_term}", "signal.SIG_DFL")) as server,
        httpx.AsyncClient(timeout=0.2) as client,
    ):
        server.send(signal.SIGSTOP)
        with pytest.raises(httpx.TimeoutException):
            await client.get(f"{server.root}/health")
        server.send(signal.SIGCONT)
        assert (await client.get(f"{server.root}/health", timeout=5)).is_success


async def test_an_early_end_is_an_error_that_names_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = stand_in(tmp_path, monkeypatch, "import sys; print('no such model'); sys.exit(3)")
    with pytest.raises(VllmError, match=r"ended with status 3; see .*vllm\.log"):
        await server.start()
    assert "no such model" in server.log.read_text()


async def test_one_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_READY_S", 0.3)
    server = stand_in(tmp_path, monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(VllmError, match="not ready in time"):
        await server.start()
    assert not psutil.pid_exists(server.pid)


def test_where_there_is_none_the_error_says_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VLLM_PYTHON", str(tmp_path / "none"))
    with pytest.raises(VllmError, match="make vllm"):
        vllm_python()
