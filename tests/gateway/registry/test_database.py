import asyncio
import multiprocessing
import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from gateway.registry import Registry, RegistryError, State, Vault, tables
from gateway.registry.database import Database

KEY = b"k" * 32


async def test_migrations_make_exactly_the_tables(url):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables.metadata)

    database = await Database.open(url, 5)
    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


def _open_and_file(url, name, barrier):
    from gateway.registry import ForgetSpec

    async def run():
        barrier.wait(30)
        registry = await Registry.open(url, Vault(KEY))
        spec = ForgetSpec(scope="entity", subject=name, aliases=[name])
        await registry.create(spec, idempotency_key=None, actor="a")
        await registry.close()

    asyncio.run(run())


async def test_processes_that_open_at_once_agree(url):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    workers = [spawn.Process(target=_open_and_file, args=(url, f"Person {i}", barrier)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        await asyncio.to_thread(worker.join, 60)
        assert worker.exitcode == 0
    registry = await Registry.open(url, Vault(KEY))
    assert len((await registry.page()).items) == 3
    assert await registry.revision() == 3
    assert await registry.verify_audit() is None
    await registry.close()


async def test_a_newer_schema_is_refused(url):
    database = await Database.open(url, 5)
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    with pytest.raises(RegistryError, match="newer"):
        await Database.open(url, 5)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("not a url", "not a database URL"),
        ("mysql://host/db", "must begin with"),
        ("postgresql://lethe@/db?host=/nowhere", "does not answer"),
    ],
)
async def test_a_bad_address_is_told_and_not_shown(address, says):
    with pytest.raises(RegistryError, match=says) as caught:
        await Registry.open(address, Vault(KEY))
    assert address not in str(caught.value)


async def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "registry.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(RegistryError, match="damaged"):
        await Registry.open(f"sqlite:///{tmp_path / 'registry.db'}", Vault(KEY))


async def test_sqlite_is_set_to_lose_nothing(tmp_path):
    database = await Database.open(f"sqlite:///{tmp_path / 'registry.db'}", 5)
    async with database.reading() as connection:
        found = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert found == ["wal", 2, 1, 5000]
    await database.close()


async def test_a_locked_database_is_an_error_and_nothing_is_stored(tmp_path, make):
    path = tmp_path / "registry.db"
    registry = await Registry.open(f"sqlite:///{path}", Vault(KEY), busy_s=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegistryError, match="another process holds it"):
        await registry.create(make(), idempotency_key=None, actor="a")
    assert await registry.revision() == 0  # readers go on
    other.execute("ROLLBACK")
    other.close()
    await registry.create(make(), idempotency_key=None, actor="a")
    await registry.close()


async def test_a_full_disk_is_an_error_and_nothing_is_stored(tmp_path, make):
    registry = await Registry.open(f"sqlite:///{tmp_path / 'registry.db'}", Vault(KEY))
    request, _ = await registry.create(make("First Person"), idempotency_key=None, actor="a")
    async with registry._database.reading() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar()
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    before = await registry.revision(), await registry.audits(), await registry.page()
    with pytest.raises(RegistryError, match="disk is full"):
        await registry.create(make("Second Person", documents=["x" * 50_000]), idempotency_key=None, actor="a")
    with pytest.raises(RegistryError, match="disk is full"):
        await registry.put_targets(request.id, b"x" * 50_000)
    assert before == (await registry.revision(), await registry.audits(), await registry.page())
    async with registry._database.reading() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))
    await registry.move(request.id, State.SHIELDED, actor="a")
    await registry.close()


async def test_a_reader_never_sees_half_a_change(registry, make):
    request, _ = await registry.create(make(), idempotency_key=None, actor="a")
    entered, leave = asyncio.Event(), asyncio.Event()

    async def change():
        async with registry._database.writing() as connection:
            await connection.execute(tables.requests.update().values(state="shielded"))
            entered.set()
            await leave.wait()
            raise RuntimeError("the program dies here")

    changing = asyncio.create_task(change())
    await entered.wait()
    assert (await registry.get(request.id)).state is State.RECEIVED
    leave.set()
    with pytest.raises(RuntimeError):
        await changing
    assert (await registry.get(request.id)).state is State.RECEIVED


async def test_a_cancelled_change_is_whole_or_nothing_and_blocks_nobody(registry, make):
    for i in range(30):
        filing = asyncio.create_task(registry.create(make(f"Person {i}"), idempotency_key=None, actor="a"))
        await asyncio.sleep(i * 0.0003)  # somewhere in it
        filing.cancel()
        await asyncio.wait({filing})
    request, _ = await registry.create(make("Last Person"), idempotency_key=None, actor="a")
    stored = await registry.changed(0)
    assert request in stored
    assert await registry.revision() == len(stored) == len(await registry.audits(limit=100))
    for one in stored:
        assert [event.kind for event in await registry.events(one.id)] == ["created"]
