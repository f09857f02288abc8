"""A broker, and a gateway with a bridge to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.bridges.mosquitto import Mosquitto, binary


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Whatever a test does, every task has ended with its bridges."""
    yield
    assert asyncio.all_tasks() - {asyncio.current_task()} == set()


@pytest.fixture(scope="session")
def program() -> str:
    """The path of Mosquitto."""
    found = binary()
    if found is None:
        if os.environ.get("ANABRANCH_NEEDS_SERVICES"):
            pytest.fail("Mosquitto isn't installed, and ANABRANCH_NEEDS_SERVICES wants it")
        pytest.skip("Mosquitto isn't installed")
    return found


@pytest.fixture
def broker(tmp_path: Path, program: str) -> Iterator[Mosquitto]:
    """A broker that runs."""
    broker = Mosquitto(tmp_path, program)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def quiet(tmp_path: Path, program: str) -> Iterator[Mosquitto]:
    """A broker that doesn't run yet."""
    broker = Mosquitto(tmp_path, program)
    yield broker
    broker.stop()
