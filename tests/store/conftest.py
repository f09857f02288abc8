"""The databases that the tests run on: a file, and a real PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.store.postgres import Postgres, binaries
from tests.store.talking import Opening


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        if os.environ.get("ANABRANCH_NEEDS_SERVICES"):
            pytest.fail("PostgreSQL isn't installed, and ANABRANCH_NEEDS_SERVICES wants it")
        pytest.skip("PostgreSQL isn't installed")
    server = Postgres(programs)
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/runs.db"
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
async def opening() -> AsyncIterator[Opening]:
    """Open stores, closed after the test."""
    opening = Opening()
    yield opening
    await opening.aclose()
