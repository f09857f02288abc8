"""Sessions and their turns, read, settled and forgotten. A turn is added together with its run: see `turns`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, TextClause, bindparam, delete, exists, func, select, text, tuple_, update

from deployments.store import statements
from deployments.store.database import Database
from deployments.store.rows import OpenTurn, SessionKey, SessionRow, Settled, TurnRow, storable
from deployments.store.schema import runs, sessions, turns


class SessionRows:
    """The sessions of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def session(self, key: SessionKey) -> SessionRow | None:
        """Return a session; None if there is none."""
        if not storable(key.id):
            return None
        query = _SESSIONS.where(sessions.c.caller == key.caller, sessions.c.id == key.id)
        found = await self._database.read(lambda c: c.execute(query).one_or_none())
        return None if found is None else _session(*found)

    async def sessions(self, caller: str, before: tuple[float, str] | None, limit: int) -> list[SessionRow]:
        """Return sessions, the last used first; those after a moment and an id in that order."""
        if before is not None and not storable(before[1]):
            return []
        query = _SESSIONS.where(sessions.c.caller == caller).limit(limit)
        query = query.order_by(sessions.c.updated_at.desc(), sessions.c.id.desc())
        if before is not None:
            query = query.where(tuple_(sessions.c.updated_at, sessions.c.id) < tuple_(*before))
        return [_session(*row) for row in await self._database.read(lambda c: c.execute(query).all())]

    async def turns(self, key: SessionKey, before: int | None, limit: int) -> list[TurnRow]:
        """Return the last turns before a number, in order."""
        query = _TURNS.where(turns.c.caller == key.caller, turns.c.session == key.id)
        query = query.order_by(turns.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(turns.c.number < before)
        rows = await self._database.read(lambda c: c.execute(query).all())
        return [TurnRow(*row) for row in reversed(rows)]

    async def turn(self, key: SessionKey, run: str) -> TurnRow | None:
        """Return the turn of a run, if it is one of this session."""
        if not storable(run):
            return None
        query = _TURNS.where(turns.c.caller == key.caller, turns.c.session == key.id, turns.c.run == run)
        found = await self._database.read(lambda c: c.execute(query).one_or_none())
        return None if found is None else TurnRow(*found)

    async def system(self, key: SessionKey, number: int) -> str | None:
        """Return the system prompt that holds at a turn."""
        wanted = {"caller": key.caller, "session": key.id, "number": number}
        return await self._database.read(lambda c: c.execute(_SYSTEM, wanted).scalar())

    async def firsts(self, keys: Collection[SessionKey]) -> list[OpenTurn]:
        """Return of each session the first turn that isn't settled, if there is one; in one query."""
        if not keys:
            return []
        wanted = {"keys": json.dumps([list(key) for key in keys])}
        return [_open(*row) for row in await self._database.read(lambda c: c.execute(_firsts(c), wanted).all())]

    async def unsettled(self, limit: int = 100) -> list[OpenTurn]:
        """Return some turns whose run has ended and which aren't settled."""
        rows = await self._database.read(lambda c: c.execute(_UNSETTLED, {"limit": limit}).all())
        return [_open(*row) for row in rows]

    async def settle(self, settled: Sequence[Settled]) -> list[OpenTurn]:
        """Remember how turns ended; return the next turn of each of their sessions that isn't settled.

        A turn that is settled already, or was forgotten, stays as it is.
        """

        def work(connection: Connection) -> list[OpenTurn]:
            # Rows are locked in one order, whichever process writes.
            connection.execute(_SETTLE, [each._asdict() | {"id": each.run} for each in sorted(settled)])
            found = connection.execute(_OF_RUNS, {"runs": [each.run for each in settled]}).all()
            if not found:
                return []
            wanted = {"keys": json.dumps([list(row) for row in found])}
            return [_open(*row) for row in connection.execute(_firsts(connection), wanted)]

        return await self._database.write(work)

    async def clear(self, key: SessionKey) -> bool:
        """Forget the turns of a session that have ended, with their runs; return whether there is such a session."""

        def work(connection: Connection) -> bool:
            gone = _locked(connection, key)
            if gone is None:
                return False
            connection.execute(delete(turns).where(turns.c.run.in_(gone)))
            statements.delete_runs(connection, gone)
            return True

        return await self._database.write(work)

    async def forget(self, key: SessionKey) -> bool:
        """Delete a session with its turns, and with the runs of those that have ended; return whether there was one."""

        def work(connection: Connection) -> bool:
            gone = _locked(connection, key)
            if gone is None:
                return False
            statements.delete_runs(connection, gone)
            _delete(connection, [key])
            return True

        return await self._database.write(work)

    async def sweep(self, older_than: float, step: int = 100) -> int:
        """Delete sessions that nobody has used since a moment; return how many went, 0 when there are no more."""

        def work(connection: Connection) -> int:
            gone = [SessionKey(*row) for row in connection.execute(_OUTDATED, {"moment": older_than, "step": step})]
            if gone:
                _delete(connection, gone)
            return len(gone)

        return await self._database.write(work)


def _locked(connection: Connection, key: SessionKey) -> list[str] | None:
    """Lock a session, and return the runs of its turns that have ended; None if there is no such session."""
    if connection.execute(_LOCK, {"its_caller": key.caller, "its_id": key.id}).rowcount == 0:
        return None
    return [run for (run,) in connection.execute(_ENDED, {"caller": key.caller, "session": key.id})]


def _delete(connection: Connection, keys: Sequence[SessionKey]) -> None:
    connection.execute(delete(turns).where(tuple_(turns.c.caller, turns.c.session).in_(keys)))
    connection.execute(delete(sessions).where(tuple_(sessions.c.caller, sessions.c.id).in_(keys)))


def _session(caller: str, id: str, workflow: str, count: int, created_at: float, updated_at: float) -> SessionRow:
    return SessionRow(SessionKey(caller, id), workflow, count, created_at, updated_at)


def _open(caller: str, session: str, number: int, run: str, ended: bool) -> OpenTurn:
    return OpenTurn(SessionKey(caller, session), number, run, bool(ended))


def _firsts(connection: Connection) -> TextClause:
    return _SQLITE_FIRSTS if connection.dialect.name == "sqlite" else _POSTGRES_FIRSTS


_count = (
    select(func.count())
    .select_from(turns)
    .where(turns.c.caller == sessions.c.caller, turns.c.session == sessions.c.id)
    .scalar_subquery()
)
_SESSIONS = select(
    sessions.c.caller, sessions.c.id, sessions.c.workflow, _count, sessions.c.created_at, sessions.c.updated_at
)
_TURNS = select(
    turns.c.number, turns.c.run, turns.c.said, turns.c.system, turns.c.answer, turns.c.state, turns.c.created_at,
    turns.c.ended_at, runs.c.status,
).select_from(turns.outerjoin(runs, runs.c.id == turns.c.run))  # fmt: skip

_last_system = turns.alias("said")
_SYSTEM = select(
    func.coalesce(
        select(_last_system.c.system)
        .where(
            _last_system.c.caller == sessions.c.caller,
            _last_system.c.session == sessions.c.id,
            _last_system.c.number <= bindparam("number"),
            _last_system.c.system.is_not(None),
        )
        .order_by(_last_system.c.number.desc())
        .limit(1)
        .scalar_subquery(),
        sessions.c.system,
    )
).where(sessions.c.caller == bindparam("caller"), sessions.c.id == bindparam("session"))

# The sessions come as one value, and each is looked up in the index of open turns, as runs are where they are followed.
_SQLITE_FIRSTS = text("""
    SELECT t.caller, t.session, t.number, t.run, r.id IS NULL OR r.ended_at IS NOT NULL FROM json_each(:keys) AS k
    CROSS JOIN turns AS t ON t.rowid = (
        SELECT rowid FROM turns
        WHERE caller = json_extract(k.value, '$[0]') AND session = json_extract(k.value, '$[1]') AND state IS NULL
        ORDER BY number LIMIT 1
    ) LEFT JOIN runs AS r ON r.id = t.run
""")
_POSTGRES_FIRSTS = text("""
    SELECT t.caller, t.session, t.number, t.run, r.id IS NULL OR r.ended_at IS NOT NULL
    FROM json_array_elements(CAST(:keys AS json)) AS k
    CROSS JOIN LATERAL (
        SELECT * FROM turns WHERE caller = k.value ->> 0 AND session = k.value ->> 1 AND state IS NULL
        ORDER BY number LIMIT 1
    ) AS t LEFT JOIN runs AS r ON r.id = t.run
""")
_ended = runs.c.id.is_(None) | runs.c.ended_at.is_not(None)
_UNSETTLED = (
    select(turns.c.caller, turns.c.session, turns.c.number, turns.c.run, _ended)
    .select_from(turns.outerjoin(runs, runs.c.id == turns.c.run))
    .where(turns.c.state.is_(None), _ended)
    .limit(bindparam("limit"))
)
_SETTLE = (
    update(turns)
    .where(turns.c.run == bindparam("id"), turns.c.state.is_(None))
    .values({name: bindparam(name) for name in ("state", "answer", "ended_at")})
)
_OF_RUNS = select(turns.c.caller, turns.c.session).where(turns.c.run.in_(bindparam("runs", expanding=True))).distinct()
_LOCK = (
    # The system prompt outlives the turns that said it.
    update(sessions)
    .where(sessions.c.caller == bindparam("its_caller"), sessions.c.id == bindparam("its_id"))
    .values(
        system=func.coalesce(
            select(turns.c.system)
            .where(turns.c.caller == sessions.c.caller, turns.c.session == sessions.c.id, turns.c.system.is_not(None))
            .order_by(turns.c.number.desc())
            .limit(1)
            .scalar_subquery(),
            sessions.c.system,
        )
    )
)
_ENDED = (
    select(turns.c.run)
    .select_from(turns.outerjoin(runs, runs.c.id == turns.c.run))
    .where(turns.c.caller == bindparam("caller"), turns.c.session == bindparam("session"), _ended)
)
_OUTDATED = (
    select(sessions.c.caller, sessions.c.id)
    .where(
        sessions.c.updated_at < bindparam("moment"),
        ~exists().where(turns.c.caller == sessions.c.caller, turns.c.session == sessions.c.id, turns.c.state.is_(None)),
    )
    .order_by(sessions.c.updated_at)
    .limit(bindparam("step"))
)
