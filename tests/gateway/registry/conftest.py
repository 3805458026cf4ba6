"""A registry on each database that is there: SQLite always, Postgres where its server is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from gateway.registry import ForgetSpec, Registry, Vault

KEY = bytes(range(32))


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.at = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.at

    def forward(self, seconds):
        self.at += timedelta(seconds=seconds)


def entity(subject="Ada Quill", **fields):
    return ForgetSpec(**{"scope": "entity", "subject": subject, "aliases": [subject], **fields})


def _binary(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@pytest.fixture(scope="session")
def postgres():
    """The socket folder of a running server."""
    initdb, pg_ctl = _binary("initdb"), _binary("pg_ctl")
    if not (initdb and pg_ctl):
        pytest.skip("no Postgres server binaries (initdb, pg_ctl)")
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            as_user = {"user": pwd.getpwnam("postgres").pw_uid}
        except KeyError:
            pytest.skip("running as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="lethe-pg-"))
    if as_user:
        os.chown(folder, as_user["user"], -1)
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **as_user}
    data = folder / "data"
    try:
        subprocess.run([initdb, "-D", data, "-U", "lethe", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"], **quiet)
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        subprocess.run([pg_ctl, "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], **quiet)
        try:
            yield folder
        finally:
            subprocess.run([pg_ctl, "-D", data, "-w", "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    folder = request.getfixturevalue("postgres")
    with psycopg.connect(host=str(folder), user="lethe", dbname="postgres", autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return f"postgresql://lethe@/postgres?host={folder}"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def vault():
    return Vault(KEY)


@pytest.fixture
async def registry(url, vault, clock):
    opened = await Registry.open(url, vault, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def make():
    """Makes the spec of an entity."""
    return entity
