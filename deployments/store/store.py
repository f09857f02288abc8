"""Kept runs in a database that several processes share: SQLite in a file, or PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    TextClause,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from deployments.store import statements
from deployments.store.database import Database, Locked
from deployments.store.rows import Answer, NewRun, RunRow, Segment, Source, StoreDown, Wanted, storable
from deployments.store.schema import owners, runs, segments, turns
from deployments.store.sessions import SessionRows
from deployments.store.writer import Writer
from graphs.errors import InvalidInput

PATIENCE = 1.0
"""Seconds for a burial to get its locks. If it takes longer, the owner may have been waiting for the same ones."""
CLOSING = 3.0
"""Seconds for the last write of a store that is being closed."""
LONGEST_TEXT = 1024
"""Bytes of a text that is looked up: PostgreSQL's indexes hold no more than 2.7 KB."""
LARGEST_STEP = 64 * 2**20
"""Bytes of logs that one step of sweeping deletes, about."""


class Store:
    """The store, as one process sees it: what it writes it writes as one owner."""

    def __init__(self, database: Database, every: float) -> None:
        self._database = database
        self._writer = Writer(database, every)
        self._closed = False
        self.sessions = SessionRows(database)

    @classmethod
    async def open(cls, url: str, *, create: bool = True, every: float = 0.05) -> Store | None:
        """Open the store, and make or upgrade its tables; with `create=False`, return None where there are none.

        Writes of what runs say are at least `every` seconds apart. Raise StoreDown if the store can't be opened.
        """
        database = Database(url)
        try:
            found = await database.open(create=create)
        except BaseException:
            await database.aclose()
            raise
        if not found:
            await database.aclose()
            return None
        return cls(database, every)

    @property
    def trouble(self) -> str | None:
        """Return why the last write failed; None when all is well."""
        return self._writer.trouble

    @property
    def owner(self) -> str:
        """Return the id under which this process owns the runs that it accepts."""
        return self._writer.owner

    @property
    def on_buried(self) -> Callable[[], None] | None:
        """What is called when another process has buried this owner.

        What was to be written is dropped then, and `owner` is a new one.
        """
        return self._writer.on_buried

    @on_buried.setter
    def on_buried(self, call: Callable[[], None] | None) -> None:
        self._writer.on_buried = call

    async def accept(self, run: NewRun) -> Answer:
        """Keep a new run, committed when this returns; return its place as a turn, or why it isn't kept: its key stands for a run
        already, or its session is busy.

        Raise StoreDown if that fails: nothing of the run is kept then.
        """
        for name, value in (("session_id", run.session), ("caller", run.caller), ("Idempotency-Key", run.key)):
            _check(name, value)
        return await self._writer.accept(run)

    def mark(self, source: Source) -> None:
        """Have the writer take what this source has said, soon; its run was accepted before.

        What was taken is written again until that succeeds. A source whose run has ended is forgotten.
        """
        self._writer.mark(source)

    async def flush(self) -> None:
        """Wait until all that is marked now is written; raise StoreDown when a try fails."""
        await self._writer.flush()

    async def run(self, id: str) -> RunRow | None:
        """Return a run's row; None if there is no such run."""
        if not storable(id):
            return None
        found = await self._database.read(lambda c: c.execute(_RUN, {"id": id}).one_or_none())
        return None if found is None else _run_row(found)

    async def runs(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        session: str | None = None,
        caller: str | None = None,
        before: str | None = None,
        limit: int,
    ) -> list[RunRow]:
        """Return runs, the newest first; those older than the run `before`, where it is given."""
        query = select(runs).order_by(runs.c.id.desc()).limit(limit)
        for column, wanted in (("workflow", workflow), ("status", status), ("session", session), ("caller", caller)):
            if wanted is not None:
                query = query.where(runs.c[column] == wanted)
        if before is not None:
            query = query.where(runs.c.id < before)
        if not all(map(storable, filter(None, (workflow, status, session, caller, before)))):
            return []
        return [_run_row(row) for row in await self._database.read(lambda c: c.execute(query).all())]

    async def segments(self, run: str, first: int, last: int | None = None, limit: int = 64) -> list[Segment]:
        """Return the segments that hold numbers from `first` on (to `last`), in order, at most `limit` of them."""
        if not storable(run):
            return []
        wanted = {"run": run, "first": first, "last": _HIGHEST if last is None else last, "limit": limit}
        return [Segment(*row) for row in await self._database.read(lambda c: c.execute(_SEGMENTS, wanted).all())]

    async def tail(self, positions: Mapping[str, int], limit: int = 1024) -> list[Segment]:
        """Return of every run the segments that begin after its position, by run and number; in one query.

        At most `limit` of them: the next call with the new positions returns the others.
        """
        if not positions:
            return []
        wanted = {"positions": json.dumps(dict(positions)), "limit": limit}
        return [Segment(*row) for row in await self._database.read(lambda c: c.execute(_tail(c), wanted).all())]

    async def ask_to_stop(self, run: str) -> None:
        """Ask the owner of an active run to stop it."""
        await self._database.write(lambda c: c.execute(_ASK, {"run": run}).rowcount)

    async def wanted(self) -> list[Wanted]:
        """Return the active runs of this owner that other processes read, or ask to stop."""
        if not self._writer.owns:
            return []
        rows = await self._database.read(lambda c: c.execute(_WANTED, {"owner": self.owner}).all())
        return [Wanted(run, bool(stop), reads) for run, stop, reads in rows]

    def write_every(self, seconds: float) -> None:
        """Have what runs say written so often from now on."""
        self._writer.every = seconds

    async def reading(self, runs: Collection[str]) -> None:
        """Say that readers follow these active runs here: `reads` of each goes up by one."""
        if runs:
            rows = [{"run": run} for run in sorted(runs)]
            await self._database.write(lambda c: c.execute(_READ, rows).rowcount)

    async def beat(self) -> None:
        """Say that this owner is alive; every write of what its runs say does so too."""
        await self._writer.beat()

    async def beats(self) -> dict[str, int]:
        """Return the count of every owner."""
        rows = await self._database.read(lambda c: c.execute(select(owners.c.id, owners.c.beat)).all())
        return {row.id: row.beat for row in rows}

    async def bury(self, owner: str, beat: int, kind: int, body: bytes) -> list[str]:
        """End the active runs of an owner whose count stands still, as failed; return their ids.

        Each gets a last segment of this kind and body. Nothing happens if the count isn't `beat` any more, or if the
        database was locked for so long that the owner may have been waiting for it too.
        """
        begun = time.monotonic()
        try:
            return await self._database.write(lambda c: _bury(c, owner, beat, Segment("", 0, 0, kind, body), begun))
        except Locked:
            return []

    async def forget(self, run: str) -> bool:
        """Delete a run that has ended, with its log and key; return whether there was one."""

        def work(connection: Connection) -> bool:
            if connection.execute(_FORGET, {"run": run}).rowcount == 0:
                return False
            statements.delete_runs(connection, [run])
            return True

        return storable(run) and await self._database.write(work)

    async def sweep(self, *, older_than: float | None, max_size: int | None, step: int = 100) -> int:
        """Delete some ended runs, the first to end first; return how many went, 0 when there are no more to delete.

        Those go that ended before the moment `older_than` (a `time.time()`), and as many as are needed for all logs to
        take no more than `max_size` bytes. One call deletes at most `step` runs.
        """

        def work(connection: Connection) -> int:
            gone = _outdated(connection, older_than, max_size, step)
            if gone:
                statements.delete_runs(connection, gone)
            return len(gone)

        return await self._database.write(work)

    async def aclose(self) -> None:
        """Write what is marked, in a few seconds at most, and close the connections."""
        if self._closed:
            return
        self._closed = True
        await self._writer.aclose(CLOSING)
        if not self.trouble:
            with suppress(StoreDown):
                await self._database.write(lambda c: c.execute(_LEAVE, {"owner": self.owner}).rowcount, CLOSING)
        await self._database.aclose()


def _bury(connection: Connection, owner: str, beat: int, end: Segment, begun: float) -> list[str]:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE:.0f}s'")
    if connection.execute(_UNOWN, {"owner": owner, "beat": beat}).rowcount == 0:
        return []
    if time.monotonic() - begun > PATIENCE:
        raise Locked(f"the store was locked for more than {PATIENCE:.0f} s")
    found = connection.execute(_OWNED, {"owner": owner}).all()
    if found:
        ends = [end._replace(run=run, first=last + 1, last=last + 1) for run, last in found]
        statements.insert_segments(connection, ends)
        now = time.time()
        connection.execute(_END, [{"run": run, "ended_at": now, "more": len(end.body)} for run, _ in found])
    return [run for run, _ in found]


def _outdated(connection: Connection, older_than: float | None, max_size: int | None, step: int) -> list[str]:
    """Return the ids of the next runs to be swept."""
    excess = 0 if max_size is None else int(connection.execute(_TOTAL).scalar_one()) - max_size
    gone: list[str] = []
    size = 0
    for row in connection.execute(_FIRST_ENDED, {"step": step}):
        old = older_than is not None and row.ended_at < older_than
        if size >= LARGEST_STEP or not (old or size < excess):
            break
        gone.append(row.id)
        size += row.size
    return gone


def _run_row(row: Row[tuple[object, ...]]) -> RunRow:
    return RunRow(*row)._replace(stop=bool(row.stop))


def _check(name: str, value: str | None) -> None:
    if value is None:
        return
    if not storable(value):
        raise InvalidInput(
            f"{name} holds a character that can't be stored: a NUL, or half of a surrogate pair", field=name
        )
    if len(value.encode()) > LONGEST_TEXT:
        raise InvalidInput(f"{name} is too long: write at most {LONGEST_TEXT} bytes", field=name)


def _tail(connection: Connection) -> TextClause:
    return _SQLITE_TAIL if connection.dialect.name == "sqlite" else _POSTGRES_TAIL


_HIGHEST = 2**63 - 1

_active = runs.c.ended_at.is_(None)

_RUN = select(runs).where(runs.c.id == bindparam("id"))

_before = segments.alias("before")
_SEGMENTS = (
    select(segments)
    .where(
        segments.c.run == bindparam("run"),
        # The one that holds `first` begins at or before it: looked up, so that no reader passes a long log from its start.
        segments.c.first
        >= func.coalesce(
            select(func.max(_before.c.first))
            .where(_before.c.run == bindparam("run"), _before.c.first <= bindparam("first", type_=BigInteger))
            .scalar_subquery(),
            0,
        ),
        segments.c.last >= bindparam("first", type_=BigInteger),
        segments.c.first <= bindparam("last", type_=BigInteger),
    )
    .order_by(segments.c.first)
    .limit(bindparam("limit"))
)

# The runs come as one value: a query of a thousand values is made anew for every other number of them.
# Either database is made to look each run up in the index: by its own estimates it may read the whole table.
_SQLITE_TAIL = text("""
    SELECT s.run, s.first, s.last, s.kind, s.body FROM json_each(:positions) AS p
    CROSS JOIN segments AS s ON s.run = p.key AND s.first > p.atom
    ORDER BY s.run, s.first LIMIT :limit
""")
_POSTGRES_TAIL = text("""
    SELECT s.run, s.first, s.last, s.kind, s.body FROM json_each_text(CAST(:positions AS json)) AS p
    CROSS JOIN LATERAL (
        SELECT * FROM segments WHERE run = p.key AND first > CAST(p.value AS bigint) ORDER BY first LIMIT :limit
    ) AS s ORDER BY s.run, s.first LIMIT :limit
""")

_ASK = update(runs).where(runs.c.id == bindparam("run"), _active).values(stop=1)
_WANTED = (
    select(runs.c.id, runs.c.stop, runs.c.reads)
    .where(runs.c.owner == bindparam("owner"), _active, or_(runs.c.stop == 1, runs.c.reads > 0))
    .order_by(runs.c.id)
)
_READ = update(runs).where(runs.c.id == bindparam("run"), _active).values(reads=runs.c.reads + 1)

_UNOWN = delete(owners).where(owners.c.id == bindparam("owner"), owners.c.beat == bindparam("beat"))
_LEAVE = delete(owners).where(
    owners.c.id == bindparam("owner"), ~exists().where(runs.c.owner == bindparam("owner"), _active)
)
_OWNED = select(runs.c.id, runs.c.last).where(runs.c.owner == bindparam("owner"), _active).order_by(runs.c.id)
_END = (
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(status="failed", ended_at=bindparam("ended_at"), last=runs.c.last + 1, size=runs.c.size + bindparam("more"))
)

_FORGET = delete(runs).where(runs.c.id == bindparam("run"), ~_active)
_TOTAL = select(func.coalesce(func.sum(runs.c.size), 0))
_FIRST_ENDED = (
    select(runs.c.id, runs.c.size, runs.c.ended_at)
    # A turn that isn't settled has its answer there alone.
    .where(~_active, ~exists().where(turns.c.run == runs.c.id, turns.c.state.is_(None)))
    .order_by(runs.c.ended_at, runs.c.id)
    .limit(bindparam("step"))
)
