"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    at = sa.DateTime(timezone=True)
    registry = op.create_table(
        "registry",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("key_check", sa.LargeBinary, nullable=False),
        sa.Column("audit_head", sa.String(64), nullable=False),
    )
    # its one row; the first to open the registry adds the key check
    op.bulk_insert(registry, [{"id": 1, "revision": 0, "key_check": b"", "audit_head": ""}])
    op.create_table(
        "forget_requests",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("method", sa.String(32)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("idempotency", sa.String(64), unique=True),
        sa.Column("body", sa.String(64), nullable=False),
        sa.Column("created_at", at, nullable=False),
        sa.Column("updated_at", at, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(100)),
        sa.Column("leased_until", at),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("detail", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_forget_requests_state", "forget_requests", ["state", "id"])
    op.create_index("ix_forget_requests_fingerprint", "forget_requests", ["fingerprint"])
    op.create_index("ix_forget_requests_revision", "forget_requests", ["revision"])
    op.create_table(
        "events",
        sa.Column("request", sa.String(32), sa.ForeignKey("forget_requests.id"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", at, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "targets",
        sa.Column("request", sa.String(32), sa.ForeignKey("forget_requests.id"), primary_key=True),
        sa.Column("blob", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("request", sa.String(32), sa.ForeignKey("forget_requests.id"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", at, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "policies",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", at, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audits",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", at, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("object", sa.String(64), nullable=False),
        sa.Column("detail", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    for table in ("audits", "policies", "evidence", "targets", "events", "forget_requests", "registry"):
        op.drop_table(table)
