"""Tasks that end together; exceptions -> errors that a client may see."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

from graphs.errors import AnabranchError

T = TypeVar("T")

logger = logging.getLogger("anabranch.run")


class only_known_errors:  # noqa: N801  (a context manager that is used like a function)
    """Let an AnabranchError pass. Turn any other exception into an internal error, and log its traceback.

    If the task was cancelled meanwhile, raise CancelledError, even if the callee answered the cancellation with an
    error or a value: taken for an answer, that would be tried again, or handed on.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def __enter__(self) -> None:
        self._depth = _cancellations()

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        cancelled = _cancellations() > self._depth
        match error:
            case None:
                if cancelled:
                    raise asyncio.CancelledError
            case asyncio.CancelledError():
                # The callee cancelled itself and this task was not cancelled: passed on, it would leave a job that never settles.
                if not cancelled:
                    raise _internal(self._run_id, error) from error
            case AnabranchError():
                if cancelled:
                    raise asyncio.CancelledError from error
            case Exception():
                # The one broad case: a fault of a component, a handle or ours ends this run alone, in an error that a
                # client may see. The exception itself stays in the log.
                internal = _internal(self._run_id, error)
                raise (asyncio.CancelledError() if cancelled else internal) from error
            case _:
                pass  # GeneratorExit and the exits of a process


class TaskGroup:
    """The tasks of an asyncio.TaskGroup."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._unfinished = 0
        self._finished: asyncio.Future[None] | None = None

    def create_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task, cancelled with the others when one of them fails."""
        task = self._group.create_task(work)
        self._unfinished += 1
        task.add_done_callback(self._count)
        return task

    async def finish(self) -> None:
        """Wait until all have ended."""
        while self._unfinished:
            self._finished = asyncio.get_running_loop().create_future()
            await self._finished

    def _count(self, _: asyncio.Task[Any]) -> None:
        self._unfinished -= 1
        if not self._unfinished and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)


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
