"""Threads for the database: the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple["Future[Any]", Callable[[], Any]]


class Lane:
    """A few threads that run what they are given in the order it came.

    One hop to a thread for a whole transaction costs a tenth of one for each of its statements. The threads are daemons:
    a database that hangs doesn't keep the process from ending, as an executor's threads would.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._closed = False
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=_serve, args=(self._queue,), name=name, daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[], T], limit: float) -> T:
        """Return what the work returns; raise TimeoutError after `limit` seconds.

        Cancelled or too late, it isn't begun any more; if it has begun, it goes on, and its result is dropped.
        """
        if self._closed:
            raise ConnectionError("it is closed")
        future: Future[T] = Future()
        self._queue.put((future, work))
        async with asyncio.timeout(limit):
            return await asyncio.wrap_future(future)

    async def idle(self, limit: float) -> None:
        """Wait until every thread has done what it had begun, also for callers that have left; raise TimeoutError."""
        together = threading.Barrier(len(self._threads))
        waits = [self.run(lambda: together.wait(limit), limit) for _ in self._threads]
        for result in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(result, BaseException):
                raise TimeoutError("a thread still waits for the database") from result

    def close(self) -> None:
        """Let the threads end once they have done what they were given."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)


def _serve(queue: SimpleQueue[_Work | None]) -> None:
    while (item := queue.get()) is not None:
        future, work = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  (the caller on the event loop raises it)
            future.set_exception(error)
            del error
        else:
            future.set_result(result)
        del item, future, work
