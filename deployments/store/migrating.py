"""Make or upgrade the tables of a database, once, by the first of the processes that come."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from deployments.store.rows import StoreDown

KNOWN = ("0001", "0002")
"""The revisions of the tables that this code knows, the newest last."""

_VERSIONS = "anabranch_version"
_LOCK = 0x616E61627261
"""The number of the advisory lock under which PostgreSQL's tables are made."""
_PATIENCE = 60
"""Seconds to wait for another process that makes the tables."""

_alembic = threading.Lock()
"""Alembic keeps the environment that it works in in a global variable."""


def prepare(reading: Engine, writing: Engine, file: Path | None, name: str, *, create: bool) -> bool:
    """Return whether the tables stand in their newest form, which holds afterwards unless there are none and `create` is False."""
    if file is not None and not file.exists():
        if not create:
            return False
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    with reading.connect() as connection:
        found = _revision(connection, name)
    if found is None and not create:
        return False
    if found != KNOWN[-1]:
        with _alone(file, name):
            if file is not None:
                _switch_wal_on(writing, name)
            with writing.begin() as connection:
                _upgrade(connection, name)
    return True


def _revision(connection: Connection, name: str) -> str | None:
    if not inspect(connection).has_table(_VERSIONS):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSIONS}").scalar()  # noqa: S608  (a constant)
    if found is not None and found not in KNOWN:
        raise StoreDown(
            f"the store {name} has revision {found} of its tables, and this release knows {KNOWN[-1]}: "
            "install the newer release that made it, or name another store"
        )
    return found


@contextmanager
def _alone(file: Path | None, name: str) -> Generator[None]:
    """Hold a file's folder locked; PostgreSQL has a lock of its own."""
    if file is None:
        yield
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _locked(folder):
            if time.monotonic() > deadline:
                raise StoreDown(f"the store {name} can't be made: another process has locked its folder")
            time.sleep(0.02)
        yield
    finally:
        os.close(folder)


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _switch_wal_on(writing: Engine, name: str) -> None:
    """Let readers read while a writer writes. The file stays so; switching at every start would need it for itself."""
    with closing(writing.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")
        if cursor.fetchone() != ("wal",):
            raise StoreDown(f"the store {name} can't keep a write-ahead log: put it on a local disk")


def _upgrade(connection: Connection, name: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding != "UTF8":
            raise StoreDown(f"the store {name} has the encoding {encoding}: name a database with UTF8")
    if _revision(connection, name) == KNOWN[-1]:
        return
    # Loaded only here: tables are made once, and Alembic takes its time.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=_VERSIONS)
    with _alembic:
        command.upgrade(config, "head")
