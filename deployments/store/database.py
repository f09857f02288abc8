"""A URL -> one connection that writes and a few that read, in threads; every failure is told as StoreDown."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from deployments.store import migrating
from deployments.store.failures import is_busy, reason
from deployments.store.lanes import Lane
from deployments.store.rows import StoreDown

T = TypeVar("T")

READERS = 3
"""Connections that read."""
LIMIT = 10.0
"""Seconds that a caller waits for a database that says nothing."""
OPENING = 90.0
"""Seconds that opening may take, where another process makes the tables."""
BUSY = 2.0
"""Seconds that a transaction waits for another process's lock."""

logger = logging.getLogger("anabranch.store")


class Locked(StoreDown):
    """Another process has locked the store."""


class Database:
    """The connections of this process to one database."""

    def __init__(self, url: str) -> None:
        self.url = parsed(url)
        self.file = Path(self.url.database or "") if self.url.drivername == "sqlite" else None
        self.name = str(self.file) if self.file else shown(self.url)
        self._identity: tuple[int, int] | None = None
        self._writing = self._engine(1)
        self._reading = self._engine(READERS, isolation_level="AUTOCOMMIT")
        if self.file:
            event.listen(self._writing, "begin", _begin_as_writer)
        self._writer = Lane("anabranch-store-writer", 1)
        self._readers = Lane("anabranch-store-reader", READERS)

    async def open(self, *, create: bool) -> bool:
        """Make or upgrade the tables; return False where there are none and `create` is False."""

        def prepare() -> bool:
            found = migrating.prepare(self._reading, self._writing, self.file, self.name, create=create)
            self._identity = self._found() if found else None
            return found

        return await self._told(self._writer, prepare, OPENING)

    async def write(self, work: Callable[[Connection], T], limit: float = LIMIT) -> T:
        """Return what the work returns, done in one transaction.

        It may run twice, where the first connection turns out to be dead: even if the first was committed.
        """
        return await self._told(self._writer, lambda: self._tried(self._write, work), limit)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns; each of its statements sees what is committed then."""
        return await self._told(self._readers, lambda: self._tried(self._read, work), LIMIT)

    async def aclose(self) -> None:
        """Close the connections, once what runs has ended; a database that hangs isn't waited for."""
        for lane, engine in ((self._readers, self._reading), (self._writer, self._writing)):
            try:
                await lane.idle(1)  # a connection in use would come back to a pool that is gone
                await lane.run(engine.dispose, 1)
            except TimeoutError:
                logger.warning("the store %s doesn't answer; its connections are left open", self.name)
            lane.close()

    def _write(self, work: Callable[[Connection], T]) -> T:
        with self._writing.begin() as connection:
            return work(connection)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._reading.connect() as connection:
            return work(connection)

    def _tried(self, way: Callable[[Callable[[Connection], T]], T], work: Callable[[Connection], T]) -> T:
        """Do the work, a second time if the connection was dead: a database that was restarted kills those in the pool."""
        if self._identity != self._found():
            raise StoreDown(
                f"the store {self.name} is gone: the file was deleted or replaced; put it back, "
                "or restart the server to begin with a new one"
            )
        try:
            return way(work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return way(work)

    async def _told(self, lane: Lane, work: Callable[[], T], limit: float) -> T:
        try:
            return await lane.run(work, limit)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            said = reason(error)
            for secret in filter(None, (self.url.password, _text(self.url.query.get("password")))):
                said = said.replace(secret, "…")
            busy = isinstance(error, DBAPIError) and is_busy(error)
            raise (Locked if busy else StoreDown)(f"the store {self.name} can't be used: {said}") from error

    def _found(self) -> tuple[int, int] | None:
        """Return which file it is: one that was deleted while it was open takes all that is written, and loses it."""
        if self.file is None:
            return None
        try:
            found = self.file.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _engine(self, connections: int, **options: Any) -> Engine:
        options |= {"poolclass": QueuePool, "pool_size": connections, "max_overflow": 0}
        if self.file:
            file = f"file:{quote(str(self.file))}?mode=rw"
            engine = create_engine("sqlite://", creator=lambda: _connected(file), **options)
            event.listen(engine, "connect", _set_sqlite_up)
            return engine
        try:
            engine = create_engine(self.url, connect_args=_arguments(self.url), **options)
        except ModuleNotFoundError as error:
            raise StoreDown(f"the store {self.name} needs psycopg: pip install 'anabranch[postgres]'") from error
        event.listen(engine, "connect", _set_postgres_up)
        return engine


def _arguments(url: URL) -> dict[str, Any]:
    """Return how libpq connects, where the URL doesn't say it: a machine that goes without a word is noticed in seconds."""
    ours = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
    ours |= {"tcp_user_timeout": 10_000}
    return {"client_encoding": "utf8"} | {name: value for name, value in ours.items() if name not in url.query}


def parsed(url: str) -> URL:
    """Return the URL of a file or of PostgreSQL; raise StoreDown if it is another."""
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StoreDown(
            "the store's URL can't be read; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from error
    match found.drivername:
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return found.set(drivername="postgresql+psycopg")
        case "sqlite" if found.database and found.database != ":memory:":
            return found
        case _:
            raise StoreDown(
                f"the store can't be {shown(found)}; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
            )


def shown(url: URL) -> str:
    """Return the URL without its password and options."""
    bare = URL.create(url.drivername.partition("+")[0], url.username, None, url.host, url.port, url.database)
    return bare.render_as_string()


def _connected(file: str) -> sqlite3.Connection:
    # No isolation level: transactions begin and end only where this code says so.
    return sqlite3.connect(file, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)


def _set_sqlite_up(connection: sqlite3.Connection, _: object) -> None:
    # A log that grows to 4,000 pages before it is written back: most pages are written to again and again.
    for setting in ("synchronous=NORMAL", "wal_autocheckpoint=4000", "journal_size_limit=67108864"):
        connection.execute(f"PRAGMA {setting}").close()


def _begin_as_writer(connection: Connection) -> None:
    # A transaction that begins as a reader can't become a writer if another has written since: it fails as locked.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _set_postgres_up(connection: Any, _: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY:.0f}s'")
        # A process that was stopped in a transaction holds its locks no longer than that.
        cursor.execute("SET idle_in_transaction_session_timeout = '10s'")
    connection.commit()


def _text(value: str | tuple[str, ...] | None) -> str:
    return value[0] if isinstance(value, tuple) else value or ""
