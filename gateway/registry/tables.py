"""The tables. Portable SQL only; what is personal is a sealed blob."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
)


class UtcTime(TypeDecorator[datetime]):
    """An aware instant; SQLite keeps no zone, so it is always stored in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


metadata = MetaData()

# One row. Writers lock it, so that one change follows another on every database.
registry = Table(
    "registry",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("key_check", LargeBinary, nullable=False),
    Column("audit_head", String(64), nullable=False),
)

requests = Table(
    "forget_requests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("method", String(32)),
    Column("fingerprint", String(64), nullable=False),
    Column("idempotency", String(64), unique=True),
    Column("body", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("worker", String(100)),
    Column("leased_until", UtcTime),
    Column("spec", LargeBinary, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Index("ix_forget_requests_state", "state", "id"),
    Index("ix_forget_requests_fingerprint", "fingerprint"),
    Index("ix_forget_requests_revision", "revision"),
)

events = Table(
    "events",
    metadata,
    Column("request", String(32), ForeignKey("forget_requests.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("data", LargeBinary, nullable=False),
)

targets = Table(
    "targets",
    metadata,
    Column("request", String(32), ForeignKey("forget_requests.id"), primary_key=True),
    Column("blob", LargeBinary, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    Column("request", String(32), ForeignKey("forget_requests.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("data", LargeBinary, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

audits = Table(
    "audits",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(64), nullable=False),
    Column("object", String(64), nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("hash", String(64), nullable=False),
)
