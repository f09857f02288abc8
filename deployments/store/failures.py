"""Why a database refuses -> a line in plain words."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from graphs.errors import first_line

_SQLITE = {
    "SQLITE_BUSY": "another process has locked it",
    "SQLITE_LOCKED": "another process has locked it",
    "SQLITE_READONLY": "it is read-only; let this user write the file and its folder",
    "SQLITE_PERM": "it is read-only; let this user write the file and its folder",
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_IOERR": "the disk fails or is full; check its space and health",
    "SQLITE_CANTOPEN": "it can't be opened; check that this user may read and write the file and its folder",
    "SQLITE_NOTADB": "it is no SQLite database; name another file, or delete this one",
    "SQLITE_CORRUPT": "it is damaged; restore it from a copy, or delete it",
    "SQLITE_TOOBIG": "a value is too large for it",
}

_POSTGRES = {
    "28P01": "the password is wrong",
    "28000": "this user may not connect",
    "3D000": "there is no such database; create it",
    "25006": "it is read-only; is it a standby?",
    "42501": "this user lacks the right to do that; grant it the schema",
    "42P01": "its tables are gone; restart the server to make them",
    "42P07": "it holds tables of another application; name a database of its own",
    "53100": "its disk is full; free some space",
    "53300": "it has no connection left; raise its max_connections",
    "55P03": "another process has locked it",
    "40P01": "another process has locked it",
    "57P01": "it is being shut down",
    "57P02": "it has crashed; it restarts by itself",
    "57P03": "it is starting up or shutting down",
}
_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40P01"}

_WORDS = (
    # libpq refuses a connection without a code: only its text tells.
    ("password authentication failed", "the password is wrong, or there is no such user"),
    ("no password supplied", "it wants a password; write one in the URL, or in PGPASSWORD"),
    ("no pg_hba.conf entry", "it lets no such user connect from here; see its pg_hba.conf"),
    ("the database system is", "it is starting up or shutting down"),
    ("too many clients", "it has no connection left; raise its max_connections"),
    ("connection refused", "it can't be reached; start it, or correct its address"),
    ("could not translate host name", "its host isn't known; correct its address"),
    ("failed to resolve host", "its host isn't known; correct its address"),
    ("no such file or directory", "it can't be reached; start it, or correct its address"),
    ("timeout expired", "it doesn't answer"),
    ("server closed the connection", "it has closed the connection"),
    ("no such table", "its tables are gone; restart the server to make them"),
    ("already exists", "it holds tables of another application; name a database of its own"),
    ("does not exist", "there is no such database or user; create it"),
)


def is_busy(error: DBAPIError) -> bool:
    """Return whether another process holds a lock: what failed may work when tried again."""
    return _code(error) in _BUSY


def reason(error: BaseException) -> str:
    """Return why a call to the database failed, in plain words."""
    if isinstance(error, TimeoutError):
        return "it doesn't answer"
    if isinstance(error, OSError):
        return (error.strerror or first_line(error)).lower()
    if not isinstance(error, DBAPIError):
        return first_line(error)
    known = _SQLITE | _POSTGRES
    code = _code(error)
    if code in known:
        return known[code]
    text = first_line(error.orig) if error.orig is not None else first_line(error)
    return next((words for sign, words in _WORDS if sign in text.lower()), text)


def _code(error: DBAPIError) -> str:
    """Return SQLite's primary name of the error, or PostgreSQL's five characters."""
    if isinstance(error.orig, sqlite3.Error):
        # getattr: the sqlite3 module raises a few errors of its own, which carry no name
        name = str(getattr(error.orig, "sqlite_errorname", ""))
        return "_".join(name.split("_")[:2])
    # getattr: psycopg is optional, and only its errors carry this
    return str(getattr(error.orig, "sqlstate", None) or "")
