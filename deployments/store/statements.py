"""What an owner writes: the SQL of one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Insert, Table, bindparam, delete, select, update

from deployments.store import turns as turns_of
from deployments.store.rows import PENDING, Answer, Busy, Existing, NewRun, Segment, State
from deployments.store.schema import keys, owners, runs, segments, turns

_LARGEST = 16 * 2**20
"""Bytes of bodies in one value, about."""


class Buried(Exception):
    """Another process has buried this owner: it may write nothing more."""


class Row(NamedTuple):
    """A segment, and what the row of its run becomes with it."""

    segment: Segment
    state: State
    size: int
    changed: bool
    """Whether the state is another than the row holds."""


def beat(connection: Connection, owner: str, *, new: bool) -> None:
    """Count the owner's row up, made when it is new; raise Buried if it is gone."""
    if new:
        connection.execute(_unless_there(connection, owners).values(id=owner, beat=0))
    elif connection.execute(_BEAT, {"owner": owner}).rowcount == 0:
        raise Buried


def insert_runs(connection: Connection, owner: str, new: Sequence[NewRun]) -> list[Answer]:
    """Insert runs; return for each its place as a turn, or the run that its key stands for already, or that it was refused."""
    answers: list[Answer] = [_existing(connection, run) for run in new]
    # Sessions are locked in one order, whichever process writes.
    for index in sorted(range(len(new)), key=lambda index: new[index].session or ""):
        if answers[index] is None and new[index].turn is not None:
            answers[index] = turns_of.place(connection, new[index])
    refused = [run.id for run, answer in zip(new, answers, strict=True) if isinstance(answer, Busy) and run.key]
    if refused:
        connection.execute(delete(keys).where(keys.c.run.in_(refused)))
    kept = [run for run, answer in zip(new, answers, strict=True) if not isinstance(answer, Existing | Busy)]
    if kept:
        connection.execute(_unless_there(connection, runs), [_row(run, owner) for run in kept])
        insert_segments(connection, [run.segment for run in kept])
    return answers


def insert_segments(connection: Connection, new: Sequence[Segment]) -> None:
    """Insert segments; one that is there already stays: a transaction may be told again after it was committed."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_SQLITE_SEGMENTS, list(new))
        return
    # A statement for each costs the client four times as much as one statement with all of them in two values.
    heads: list[tuple[str, int, int, int, int, int]] = []
    bodies: list[bytes] = []
    at = 1
    for segment in new:
        heads.append((*segment[:4], at, len(segment.body)))
        bodies.append(segment.body)
        at += len(segment.body)
        if at > _LARGEST or segment is new[-1]:
            connection.exec_driver_sql(_POSTGRES_SEGMENTS, (b"".join(bodies), json.dumps(heads)))
            heads, bodies, at = [], [], 1


def update_runs(connection: Connection, rows: Sequence[Row]) -> None:
    """Bring the rows of runs to what their newest segments say."""
    grown = [(row.segment.last, row.size, row.segment.run) for row in rows if not row.changed]
    if grown and connection.dialect.name == "sqlite":
        connection.exec_driver_sql("UPDATE runs SET last = ?, size = ? WHERE id = ?", grown)
    elif grown:
        connection.exec_driver_sql(_POSTGRES_GROWN, (json.dumps(grown),))
    changed = [
        {"run": row.segment.run, "last": row.segment.last, "size": row.size, **row.state._asdict()}
        for row in rows
        if row.changed
    ]
    if changed:
        connection.execute(_CHANGED, changed)


def delete_runs(connection: Connection, ids: Collection[str]) -> None:
    """Delete runs with their logs and keys."""
    gone = list(ids)
    connection.execute(delete(segments).where(segments.c.run.in_(gone)))
    connection.execute(delete(keys).where(keys.c.run.in_(gone)))
    connection.execute(delete(runs).where(runs.c.id.in_(gone)))


def withdraw_runs(connection: Connection, ids: Collection[str]) -> None:
    """Delete runs that nobody has heard of, with all that is theirs."""
    delete_runs(connection, ids)
    connection.execute(delete(turns).where(turns.c.run.in_(list(ids))))


def _existing(connection: Connection, run: NewRun) -> Existing | None:
    if run.key is None:
        return None
    caller = run.caller or ""
    row = {"caller": caller, "key": run.key, "run": run.id, "digest": run.digest, "created_at": run.created_at}
    statement = _unless_there(connection, keys).values(row).returning(keys.c.run)
    # The key that stands in the way may be deleted before it is read.
    while connection.execute(statement).one_or_none() is None:
        found = connection.execute(_KEY, {"caller": caller, "key": run.key}).one_or_none()
        if found is not None:
            return None if found.run == run.id else Existing(found.run, found.digest)
    return None


def _row(run: NewRun, owner: str) -> dict[str, object]:
    return {
        "id": run.id,
        "workflow": run.workflow,
        "status": PENDING,
        "session": run.session,
        "caller": run.caller,
        "owner": owner,
        "created_at": run.created_at,
        "last": run.segment.last,
        "size": len(run.segment.body),
        "policy": run.policy,
    }


_BEAT = update(owners).where(owners.c.id == bindparam("owner")).values(beat=owners.c.beat + 1)

_KEY = select(keys.c.run, keys.c.digest).where(keys.c.caller == bindparam("caller"), keys.c.key == bindparam("key"))

_CHANGED = (
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values({name: bindparam(name) for name in ("status", "ended_at", "output", "last", "size")})
)

_SQLITE_SEGMENTS = "INSERT INTO segments (run, first, last, kind, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"

_POSTGRES_SEGMENTS = """
INSERT INTO segments (run, first, last, kind, body)
SELECT h ->> 0, (h ->> 1)::bigint, (h ->> 2)::bigint, (h ->> 3)::smallint,
    substring(b.bodies FROM (h ->> 4)::int FOR (h ->> 5)::int)
FROM (SELECT %s::bytea AS bodies) AS b, json_array_elements(%s::json) AS h
ON CONFLICT DO NOTHING
"""

_POSTGRES_GROWN = """
UPDATE runs SET last = (r ->> 0)::bigint, size = (r ->> 1)::bigint
FROM json_array_elements(%s::json) AS r WHERE runs.id = r ->> 2
"""


def _unless_there(connection: Connection, table: Table) -> Insert:
    return turns_of.insert(connection, table).on_conflict_do_nothing()
