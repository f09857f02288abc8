import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Whatever a test does to a run, every task the run started has ended with it."""
    yield
    assert asyncio.all_tasks() - {asyncio.current_task()} == set()
