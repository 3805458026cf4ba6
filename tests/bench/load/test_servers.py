import asyncio
import os
import sys

import psutil
import pytest
import yaml

from bench.load import servers
from bench.load.servers import Cores, Footprint, ServerError, free_port, litellm_command, on, program


def test_a_footprint_has_what_a_process_holds(tmp_path):
    before = Footprint.of(os.getpid())
    with (tmp_path / "file").open("w"):
        during = Footprint.of(os.getpid())
    assert during.files == before.files + 1
    assert during.resident > 0
    assert during.cpu_s >= before.cpu_s
    assert during.threads >= 1


def test_a_core_is_given_back():
    before = os.sched_getaffinity(0)
    core = min(before)
    with on(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


def test_one_core_is_too_few():
    with on(min(os.sched_getaffinity(0))), pytest.raises(ServerError, match="two cores"):
        Cores.two()


async def test_a_program_runs_as_long_as_it_is_wanted(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "bench.load.upstream", str(port)]
    async with program(command, f"http://127.0.0.1:{port}/v1/models", tmp_path / "log") as pid:
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


async def test_a_timeout_of_whoever_uses_a_program_is_not_the_programs(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "bench.load.upstream", str(port)]
    with pytest.raises(TimeoutError):
        async with program(command, f"http://127.0.0.1:{port}/v1/models", tmp_path / "log"):
            raise TimeoutError


async def test_a_program_that_is_not_ready_in_time_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "_READY_S", 0.2)
    with pytest.raises(ServerError, match="not ready in time"):
        async with program(["sleep", "60"], f"http://127.0.0.1:{free_port()}", tmp_path / "log"):
            pass


async def test_a_program_that_ends_is_an_error_that_names_its_log(tmp_path):
    with pytest.raises(ServerError, match=r"status 3; see .*log"):
        async with program([sys.executable, "-c", "exit(3)"], f"http://127.0.0.1:{free_port()}", tmp_path / "log"):
            pass


async def test_a_program_is_ended_when_its_start_is_given_up(tmp_path):
    sleeping = program(
        [sys.executable, "-c", "import time; time.sleep(60)"], f"http://127.0.0.1:{free_port()}", tmp_path / "log"
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sleeping.__aenter__(), 0.2)
    assert not [
        child for child in psutil.Process().children() if child.cmdline()[-1:] == ["import time; time.sleep(60)"]
    ]


def test_litellm_is_asked_for_by_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LITELLM_PYTHON", str(tmp_path / "bin/python"))
    with pytest.raises(ServerError, match="LITELLM_PYTHON"):
        litellm_command(tmp_path, 1, "http://127.0.0.1:2/v1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/litellm").touch()
    command, environment = litellm_command(tmp_path, 1, "http://127.0.0.1:2/v1")
    assert command[0] == str(tmp_path / "bin/litellm")
    assert "--num_workers 1" in " ".join(command)
    assert environment["LITELLM_TELEMETRY"] == "False"
    (model,) = yaml.safe_load((tmp_path / "litellm.yaml").read_text())["model_list"]
    assert model["litellm_params"]["api_base"] == "http://127.0.0.1:2/v1"
