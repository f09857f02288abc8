"""The keys of `controller.store`: where runs are kept, which, and for how long. A URL is checked here and made one of two forms."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from graphs.document.field_types import SpecModel
from graphs.units import Size, Timeout

FORMS = "write sqlite:///runs.db, or postgresql://user:password@host/database"
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
POSTGRESQL = re.compile(
    r"//(?:[^@/?#\s]*@)?(?P<host>\[[0-9a-f:.]+\]|[\w.-]*)(?::(?P<port>[0-9]{1,5}))?(?P<database>/[^/?#\s]+)?/?(?:\?\S*)?",
    re.IGNORECASE,
)


def _url(text: str) -> str:
    """Return the URL of a store as `sqlite:///PATH` or `postgresql://…`; no message shows more of it than its scheme."""
    text = text.strip()
    found = SCHEME.match(text)
    if found is None:
        raise ValueError(f"expected the URL of a store, got {text!r}; {FORMS}")
    scheme, rest = found[1].lower(), text[found.end() :]
    kind, _, driver = scheme.partition("+")
    if kind in ("postgres", "postgresql"):
        return "postgresql:" + _of_postgresql(rest, driver)
    if kind == "sqlite":
        return "sqlite:" + _of_sqlite(rest, driver)
    raise ValueError(f"expected a store of SQLite or PostgreSQL, got '{scheme}'; {FORMS}")


def _of_sqlite(rest: str, driver: str) -> str:
    if driver:
        raise ValueError(f"the driver '{driver}' can't be chosen here; write sqlite:///runs.db")
    path = rest.removeprefix("///")
    if ":memory:" in rest or "?" in rest:
        said = "takes no options after a '?'" if "?" in rest else "must be a file: one in memory ends with its process"
        raise ValueError(f"a store of SQLite {said}; write sqlite:///runs.db")
    if path == rest or not path.strip() or path.endswith("/"):
        raise ValueError(
            "the URL names no file; write sqlite:///runs.db beside the document, or sqlite:////var/lib/anabranch/runs.db"
        )
    return rest


def _of_postgresql(rest: str, driver: str) -> str:
    if driver:
        raise ValueError(f"the driver '{driver}' can't be chosen here; write postgresql://user:password@host/database")
    found = POSTGRESQL.fullmatch(rest)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise ValueError(
            "expected postgresql://user:password@host:port/database; "
            "write each of '@ : / ? # %' in a user or a password by its code: %40 %3A %2F %3F %23 %25"
        )
    if found["database"] is None:
        raise ValueError("the URL names no database; write postgresql://user:password@host/database")
    return rest


Url = Annotated[str, AfterValidator(_url)]


class Store(SpecModel):
    """Where runs are kept that outlive their request, which runs are, and how much of them."""

    url: Url | None = Field(
        default=None,
        description="sqlite:///runs.db or postgresql://…; by default .anabranch/runs.db beside the document",
    )
    record: Literal["asked", "all"] = Field(
        default="asked", description="which runs are kept: those that ask for it, or all"
    )
    keep_for: Timeout = Field(default=7 * 86400.0, description="how long a run is kept after its end")
    max_size: Annotated[Size, Field(gt=0)] = Field(
        default=5 * 2**30,
        description="how much is kept in all; beyond it the oldest runs that have ended are forgotten",
    )


def by_its_url(value: Any) -> Any:
    """Return the mapping that a URL alone stands for."""
    if isinstance(value, str):
        return {"url": value}
    if isinstance(value, list | bool | int | float):
        raise ValueError(f"expected the URL of a store, or a mapping; {FORMS}")
    return value
