"""A new run that is a turn -> its place in its session, or that the session is busy: the SQL inside the transaction that keeps it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Insert, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from deployments.store.rows import Busy, NewRun, Placed
from deployments.store.schema import runs, sessions, turns


def place(connection: Connection, run: NewRun) -> Placed | Busy:
    """Insert the turn of a run that is about to be inserted; the session is locked until the transaction ends."""
    turn, caller = run.turn, run.caller or ""
    assert turn is not None, "its caller knows"
    assert run.session is not None, "a turn has a session"
    key = {"caller": caller, "session": run.session}
    number = connection.execute(_next(connection, run, caller)).scalar_one()
    before = [row for row in connection.execute(_OPEN, key) if row.run != run.id]
    under_way = [row.run for row in before if row.ended_at is None]
    if len(under_way) > turn.most or (under_way and turn.on_busy == "reject"):
        return Busy(len(under_way))
    said = {"number": number, "run": run.id, "said": turn.said, "system": turn.system, "created_at": run.created_at}
    # The transaction may be told again after it was committed; the number is that of the first time then.
    connection.execute(insert(connection, turns).values(**key, **said).on_conflict_do_nothing())
    number = connection.execute(_NUMBER, {"run": run.id}).scalar_one()
    return Placed(number, tuple(row.run for row in before if row.number < number))


def insert(connection: Connection, table: Table) -> Any:
    """Return an insert in the dialect of the database, which can say what happens on a conflict."""
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    return module.insert(table)


def _next(connection: Connection, run: NewRun, caller: str) -> Insert:
    """Return what counts the session's turns up, made with the first, and gives the new one's number."""
    new = {"caller": caller, "id": run.session, "workflow": run.workflow, "turns": 1}
    times = {"created_at": run.created_at, "updated_at": run.created_at}
    newest = func.greatest if connection.dialect.name == "postgresql" else func.max
    changed = {
        "turns": sessions.c.turns + 1,
        "workflow": run.workflow,
        "updated_at": newest(sessions.c.updated_at, run.created_at),
    }
    statement = insert(connection, sessions).values(**new, **times)
    return statement.on_conflict_do_update(index_elements=["caller", "id"], set_=changed).returning(sessions.c.turns)


_OPEN = (
    select(turns.c.number, turns.c.run, runs.c.ended_at)
    .select_from(turns.outerjoin(runs, runs.c.id == turns.c.run))
    .where(turns.c.caller == bindparam("caller"), turns.c.session == bindparam("session"), turns.c.state.is_(None))
    .order_by(turns.c.number)
)
_NUMBER = select(turns.c.number).where(turns.c.run == bindparam("run"))
