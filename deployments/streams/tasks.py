"""Tasks that end together; exceptions -> errors that a client may see."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from graphs.errors import AnabranchError

T = TypeVar("T")

logger = logging.getLogger("anabranch.run")


@contextmanager
def only_known_errors(run_id: str) -> Generator[None]:
    """Let an AnabranchError pass. Turn any other exception into an internal error, and log its traceback.

    If the task was cancelled meanwhile, raise CancelledError, even if the callee answered the cancellation with an
    error or a value: taken for an answer, that would be tried again, or handed on.
    """
    depth = _cancellations()
    try:
        yield
    except asyncio.CancelledError as error:
        if _cancellations() > depth:
            raise
        # The callee cancelled itself and this task was not cancelled: passed on, it would leave a job that never settles.
        raise _internal(run_id, error) from error
    except AnabranchError as error:
        if _cancellations() > depth:
            raise asyncio.CancelledError from error
        raise
    except Exception as error:
        # The one broad except: a fault of a component, a handle or ours ends this run alone, in an error that a client
        # may see. The exception itself stays in the log.
        internal = _internal(run_id, error)
        if _cancellations() > depth:
            raise asyncio.CancelledError from error
        raise internal from error
    if _cancellations() > depth:
        raise asyncio.CancelledError


class TaskGroup:
    """The tasks of an asyncio.TaskGroup."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._unfinished: set[asyncio.Task[Any]] = set()

    def create_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task, cancelled with the others when one of them fails."""
        task = self._group.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def finish(self) -> None:
        """Wait until all have ended."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)


@asynccontextmanager
async def task_group() -> AsyncGenerator[TaskGroup]:
    """Open an asyncio.TaskGroup that raises the first failure itself, without an exception group around it."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = TaskGroup(group)
            yield tasks
            # Waited for in here: up to Python 3.12 a child that fails while the group is being left leaves its parent
            # counted as cancelled, and `only_known_errors` would take that for a cancellation.
            await tasks.finish()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures.exceptions[0].__cause__


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _internal(run_id: str, error: BaseException) -> AnabranchError:
    logger.error("run %s: internal error", run_id, exc_info=error)
    return AnabranchError(f"internal error; see the log of run {run_id}")
