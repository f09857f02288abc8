"""Sessions, and their turns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sessions",
        sa.Column("caller", TEXT, nullable=False, server_default=""),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("workflow", TEXT, nullable=False),
        sa.Column("system", TEXT),
        sa.Column("turns", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("caller", "id"),
    )
    op.create_index("sessions_by_update", "sessions", ["updated_at"])
    op.create_table(
        "turns",
        sa.Column("caller", TEXT, nullable=False, server_default=""),
        sa.Column("session", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("said", TEXT, nullable=False),
        sa.Column("system", TEXT),
        sa.Column("answer", TEXT),
        sa.Column("state", TEXT),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.PrimaryKeyConstraint("caller", "session", "number"),
    )
    op.create_index("turns_by_run", "turns", ["run"], unique=True)
    is_open = sa.text("state IS NULL")
    columns = ["caller", "session", "number"]
    op.create_index("open_turns", "turns", columns, sqlite_where=is_open, postgresql_where=is_open)
