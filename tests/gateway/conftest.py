"""What holds for the tests of kept runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.store.conftest import postgres  # noqa: F401


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Whatever a test does to runs, every task has ended with its gateways."""
    yield
    assert asyncio.all_tasks() - {asyncio.current_task()} == set()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the store is made."""
    return tmp_path / "new" / "runs.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that isn't there yet, in a file and on a server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/runs.db"
    return request.getfixturevalue("postgres").database()
