"""Runs, the segments of their logs, the keys of requests, and the owners of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("workflow", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("session", TEXT),
        sa.Column("caller", TEXT),
        sa.Column("owner", TEXT),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("output", TEXT),
        sa.Column("stop", sa.Integer, nullable=False, server_default="0"),
        sa.Column("reads", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index("runs_by_workflow", "runs", ["workflow", "id"])
    op.create_index("runs_by_status", "runs", ["status", "id"])
    op.create_index("runs_by_session", "runs", ["session", "id"])
    active = sa.text("ended_at IS NULL")
    op.create_index("active_runs_by_owner", "runs", ["owner"], sqlite_where=active, postgresql_where=active)
    op.create_index("runs_by_end", "runs", ["ended_at"])
    op.create_table(
        "segments",
        sa.Column("run", TEXT, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run", "first"),
    )
    op.create_table(
        "keys_of_requests",
        sa.Column("caller", TEXT, nullable=False, server_default=""),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("caller", "key"),
    )
    op.create_index("keys_by_run", "keys_of_requests", ["run"])
    op.create_table("owners", sa.Column("id", TEXT, primary_key=True), sa.Column("beat", sa.BigInteger, nullable=False))
