"""The tables, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

metadata = MetaData()

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by its bytes, whatever the language of the database is: ids sort by time."""

runs = Table(
    "runs",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("workflow", TEXT, nullable=False),
    Column("status", TEXT, nullable=False),
    Column("session", TEXT),
    Column("caller", TEXT),
    Column("owner", TEXT),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("last", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("policy", TEXT, nullable=False),
    Column("output", TEXT),
    Column("stop", Integer, nullable=False, server_default="0"),
    Column("reads", Integer, nullable=False, server_default="0"),
)
Index("runs_by_workflow", runs.c.workflow, runs.c.id)
Index("runs_by_status", runs.c.status, runs.c.id)
Index("runs_by_session", runs.c.session, runs.c.id)
_active = runs.c.ended_at.is_(None)
Index("active_runs_by_owner", runs.c.owner, sqlite_where=_active, postgresql_where=_active)
Index("runs_by_end", runs.c.ended_at)

segments = Table(
    "segments",
    metadata,
    Column("run", TEXT, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run", "first"),
)

keys = Table(
    "keys_of_requests",
    metadata,
    Column("caller", TEXT, nullable=False, server_default=""),
    Column("key", TEXT, nullable=False),
    Column("run", TEXT, nullable=False),
    Column("digest", TEXT, nullable=False),
    Column("created_at", Double, nullable=False),
    PrimaryKeyConstraint("caller", "key"),
)
Index("keys_by_run", keys.c.run)

owners = Table("owners", metadata, Column("id", TEXT, primary_key=True), Column("beat", BigInteger, nullable=False))

sessions = Table(
    "sessions",
    metadata,
    Column("caller", TEXT, nullable=False, server_default=""),
    Column("id", TEXT, nullable=False),
    Column("workflow", TEXT, nullable=False),
    Column("system", TEXT),
    Column("turns", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    PrimaryKeyConstraint("caller", "id"),
)
Index("sessions_by_update", sessions.c.updated_at)

turns = Table(
    "turns",
    metadata,
    Column("caller", TEXT, nullable=False, server_default=""),
    Column("session", TEXT, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("run", TEXT, nullable=False),
    Column("said", TEXT, nullable=False),
    Column("system", TEXT),
    Column("answer", TEXT),
    Column("state", TEXT),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    PrimaryKeyConstraint("caller", "session", "number"),
)
Index("turns_by_run", turns.c.run, unique=True)
_open = turns.c.state.is_(None)
Index("open_turns", turns.c.caller, turns.c.session, turns.c.number, sqlite_where=_open, postgresql_where=_open)
