"""The only place that touches the database: connections, transactions, migrations, foreign errors.

SQLite by default (WAL, synchronous=FULL, foreign keys on), Postgres through psycopg. Writers go one
after another: within a process by a lock, between processes because each begins by locking the
one row of `registry` (on SQLite: the file).
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.registry import tables
from gateway.registry.errors import RegistryError

T = TypeVar("T")

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x1E7E  # any number, the same everywhere
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


class Database:
    """Transactions on one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, url: str, busy_s: float) -> "Database":
        """Connect, and migrate to the newest schema; safe when several processes do so at once.

        Args:
            url: SQLAlchemy's; the async driver is filled in.
            busy_s: how long to wait for another process's transaction.

        Raises:
            RegistryError: the database cannot be reached, is no registry, or is newer than this program.
        """
        database = cls(_engine(_located(url), busy_s))
        try:
            async with database._begin(writes=True) as connection:
                await connection.run_sync(_migrate)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Give all connections back, when what is running has ended."""
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._engine.dispose()

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that runs to its end even when the caller is cancelled.

        A driver interrupted amid a statement would keep the locks it has just taken.
        """
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view."""
        async with self._begin(writes=False) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """All of it, or nothing; nobody else writes meanwhile."""
        async with self._writer, self._begin(writes=True) as connection:
            await connection.execute(select(tables.registry.c.id).with_for_update())
            yield connection

    @asynccontextmanager
    async def _begin(self, *, writes: bool) -> AsyncIterator[AsyncConnection]:
        with self._ours():
            async with self._engine.connect() as connection:
                await connection.execution_options(writes=writes)
                async with connection.begin():
                    yield connection

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Foreign errors become `RegistryError`, without the statement and its values."""
        try:
            yield
        except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error) as error:
            raise RegistryError(f"the registry is not available: {_reason(error)}") from None


def _located(url: str) -> URL:
    try:
        made = make_url(url)
    except ArgumentError:
        raise RegistryError("registry.url is not a database URL, such as postgresql://user@host/name") from None
    driver = _DRIVERS.get(made.get_backend_name())
    if driver is None:
        raise RegistryError(f"registry.url must begin with one of {', '.join(_DRIVERS)}")
    return made.set(drivername=driver)


def _engine(url: URL, busy_s: float) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, hide_parameters=True, pool_pre_ping=True)
    if url.database:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RegistryError(f"the folder of registry.url cannot be made: {error.strerror}") from None
    engine = create_async_engine(url, hide_parameters=True, connect_args={"timeout": busy_s})
    event.listen(engine.sync_engine, "connect", _pragmas)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing; `_begin_immediate` does
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    """A writer takes the file's lock at once: a reader that turns writer would fail instead of waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found == script.get_current_head():
        return
    if found is not None and found not in {known.revision for known in script.walk_revisions()}:
        raise RegistryError(f"the registry's schema {found} is not known: it was made by a newer Lethe")
    command.upgrade(config, "head")


def _reason(error: Exception) -> str:
    text = str(error.orig if isinstance(error, DBAPIError) else error).lower()
    if "full" in text or "no space" in text:
        return "the disk is full"
    if "locked" in text or "busy" in text:
        return "another process holds it"
    if "not a database" in text or "malformed" in text:
        return "its file is damaged, or is no registry"
    return f"the database does not answer ({type(error).__name__})"
