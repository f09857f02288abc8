"""The one task of a process that writes: new runs at once, and what runs say in batches."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection

from deployments.store import statements
from deployments.store.database import Database
from deployments.store.rows import PENDING, Answer, Busy, Existing, NewRun, Source, State, StoreDown
from deployments.store.statements import Buried, Row

T = TypeVar("T")

FIRST_WAIT = 0.1
LONGEST_WAIT = 1.0
"""Seconds between a write that failed and the next try: twice as long each time."""

_FAULT = "the store %s: a run fails to say what is to be kept; the others go on"

logger = logging.getLogger("anabranch.store")


class Writer:
    """Writes for one owner. All but the transactions themselves happens on the event loop."""

    def __init__(self, database: Database, every: float) -> None:
        self.owner = _new_owner()
        self.trouble: str | None = None
        self.on_buried: Callable[[], None] | None = None
        self._database = database
        self.every = every
        self._registered = False
        self._own: dict[str, _Own] = {}
        self._accepts: list[_Accept] = []
        self._marked: dict[Source, None] = {}
        self._batch: list[_Taken] = []
        self._unwanted: set[str] = set()
        self._flushes: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._last_try = self._loop.time() - every
        self._wait = FIRST_WAIT
        self._closed = False
        self._task = asyncio.create_task(self._serve(), name="anabranch store")

    @property
    def owns(self) -> bool:
        """Return whether this owner has active runs."""
        return bool(self._own)

    async def accept(self, run: NewRun) -> Answer:
        """Insert a run, together with others that wait."""
        if self._closed:
            raise self._closing()
        accept = _Accept(run, self._loop.create_future())
        self._accepts.append(accept)
        self._wake.set()
        try:
            return await accept.inserted
        except asyncio.CancelledError:
            # Of a run that nobody drives nothing may stay. One that is being inserted is withdrawn after that.
            if accept in self._accepts:
                self._accepts.remove(accept)
            elif not accept.inserted.cancelled() and accept.inserted.exception() is None:
                self._withdraw(accept)
            raise

    def mark(self, source: Source) -> None:
        """Take what the source has said, a little later."""
        self._marked[source] = None
        if self._timer is None and not self._closed:
            self._wake_at(self._last_try + self.every)

    async def flush(self) -> None:
        """Write what is marked."""
        if self._closed:
            raise self._closing()
        flushed = self._loop.create_future()
        self._flushes.append(flushed)
        self._wake.set()
        await flushed

    async def beat(self) -> None:
        """Count this owner's row up."""
        try:
            await self._as_owner(lambda _: None)
        except Buried:
            return
        if self._batch:
            self._wake.set()

    async def aclose(self, limit: float) -> None:
        """Write what is marked, if that works within `limit` seconds; then nothing more."""
        try:
            async with asyncio.timeout(limit):
                await self.flush()
        except (StoreDown, TimeoutError):
            logger.warning("the store %s was closed before all was written", self._database.name)
        self._closed = True
        self._unset_timer()
        self._task.cancel()
        await asyncio.wait({self._task})
        for accept in self._accepts:
            accept.fail(self._closing())
        for flushed in self._flushes:
            _fail(flushed, self._closing())

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._write()

    async def _write(self) -> None:
        self._unset_timer()
        self._last_try = self._loop.time()
        accepts, self._accepts = [accept for accept in self._accepts if not accept.inserted.done()], []
        flushes: list[asyncio.Future[None]] = []
        if not self._batch:
            # What failed is written again as it was, and nothing is taken before that: sources keep what they say meanwhile.
            flushes, self._flushes = self._flushes, []
            self._batch = self._take()
        owner, batch, unwanted = self.owner, self._batch, list(self._unwanted)
        answers: list[Answer] = []
        try:
            if accepts or batch or unwanted:
                new, rows = [accept.run for accept in accepts], [taken.row for taken in batch]
                answers = await self._as_owner(lambda connection: _all(connection, owner, unwanted, new, rows))
        except Buried:
            # New runs aren't what was buried: they are inserted under the new name.
            self._accepts[:0] = accepts
            _finish(flushes)
            self._wake.set()
        except StoreDown as error:
            self._failed(error, accepts, flushes)
        except asyncio.CancelledError:
            self._failed(self._closing(), accepts, flushes)
            raise
        else:
            self._unwanted.difference_update(unwanted)
            self._batch = []
            self._wait = FIRST_WAIT
            for accept, answer in zip(accepts, answers, strict=True):
                self._answered(accept, answer)
            _finish(flushes)
            self._written(batch)
            if self._flushes:
                self._wake.set()
            elif (self._marked or self._unwanted) and self._timer is None:
                self._wake_at(self._last_try + self.every)

    async def _as_owner(self, work: Callable[[Connection], T]) -> T:
        """Do the work in a transaction that only an owner who isn't buried gets; raise Buried or StoreDown."""
        owner, new = self.owner, not self._registered

        def transaction(connection: Connection) -> T:
            statements.beat(connection, owner, new=new)
            return work(connection)

        try:
            result = await self._database.write(transaction)
        except Buried:
            self._bury(owner)
            raise
        except StoreDown as error:
            self.trouble = error.message
            raise
        except Exception as error:
            # The one broad case: a fault of ours must not end the task that writes for all runs.
            logger.exception("the store %s: internal error", self._database.name)
            self.trouble = f"the store {self._database.name} can't be written: internal error; see the log"
            raise StoreDown(self.trouble) from error
        if self.owner == owner:
            self._registered = True
        self.trouble = None
        return result

    def _take(self) -> list[_Taken]:
        marked, self._marked = self._marked, {}
        batch: list[_Taken] = []
        for source in marked:
            try:
                taken = source.take()
            except Exception:
                logger.exception(_FAULT, self._database.name)
                continue
            # The run of another owner, or of this one before it was buried: not this one's to write.
            if taken is None or (own := self._own.get(taken[0].run)) is None:
                continue
            segment, state = taken
            own.size += len(segment.body)
            changed = state.status != own.status or state.ended_at is not None
            own.status = state.status
            batch.append(_Taken(source, Row(segment, _plain(state), own.size, changed)))
        # Rows are locked in one order, whichever process writes.
        return sorted(batch, key=lambda taken: taken.row.segment.run)

    def _answered(self, accept: _Accept, answer: Answer) -> None:
        if _is_inserted(answer):
            self._own[accept.run.id] = _Own(len(accept.run.segment.body))
            if accept.inserted.cancelled():
                self._withdraw(accept)
                return
        if not accept.inserted.done():
            accept.inserted.set_result(answer)

    def _written(self, batch: list[_Taken]) -> None:
        for source, row in batch:
            if row.state.ended_at is not None:
                self._own.pop(row.segment.run, None)
                self._marked.pop(source, None)
            try:
                source.written(row.segment.last)
            except Exception:
                logger.exception(_FAULT, self._database.name)

    def _failed(self, error: StoreDown, accepts: list[_Accept], flushes: list[asyncio.Future[None]]) -> None:
        for accept in accepts:
            # Whether a commit that failed has happened isn't known: the next one deletes what it may have left.
            self._unwanted.add(accept.run.id)
            accept.fail(error)
        for flushed in [*flushes, *self._flushes]:
            _fail(flushed, error)
        self._flushes = []
        if not self._accepts:
            self._wake.clear()
        self._unset_timer()
        self._wake_at(self._loop.time() + self._wait)
        self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _withdraw(self, accept: _Accept) -> None:
        if accept.inserted.cancelled() or _is_inserted(accept.inserted.result()):
            self._own.pop(accept.run.id, None)
            self._unwanted.add(accept.run.id)
            self._wake.set()

    def _bury(self, owner: str) -> None:
        if self.owner != owner:
            return
        logger.warning(
            "another process took this one for dead, and ended its runs in the store %s", self._database.name
        )
        self.owner = _new_owner()
        self._registered = False
        self._own, self._marked, self._batch = {}, {}, []
        if self.on_buried is not None:
            try:
                self.on_buried()
            except Exception:
                logger.exception(_FAULT, self._database.name)

    def _wake_at(self, moment: float) -> None:
        self._timer = self._loop.call_at(moment, self._wake.set)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _closing(self) -> StoreDown:
        return StoreDown(f"the store {self._database.name} is being closed")


class _Own:
    """An active run of this owner, as its row stands."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.status = PENDING


class _Accept(NamedTuple):
    run: NewRun
    inserted: asyncio.Future[Answer]

    def fail(self, error: StoreDown) -> None:
        _fail(self.inserted, error)


class _Taken(NamedTuple):
    source: Source
    row: Row


def _all(connection: Connection, owner: str, unwanted: list[str], new: list[NewRun], rows: list[Row]) -> list[Answer]:
    if unwanted:
        statements.withdraw_runs(connection, unwanted)
    answers = statements.insert_runs(connection, owner, new)
    if rows:
        statements.insert_segments(connection, [row.segment for row in rows])
        statements.update_runs(connection, rows)
    return answers


def _is_inserted(answer: Answer) -> bool:
    return not isinstance(answer, Existing | Busy)


def _fail(future: asyncio.Future[T], error: StoreDown) -> None:
    if not future.done():
        # An error of its own for each: a traceback grows where it is raised.
        future.set_exception(StoreDown(error.message))


def _finish(flushes: list[asyncio.Future[None]]) -> None:
    for flushed in flushes:
        if not flushed.done():
            flushed.set_result(None)


def _plain(state: State) -> State:
    """Return the state with an output that every database takes: JSON stays the same JSON."""
    if state.output is None or (state.output.isascii() and "\0" not in state.output):
        return state
    text = state.output.encode("utf-8", "backslashreplace").decode("utf-8")
    return state._replace(output=text.replace("\0", "\\u0000"))


def _new_owner() -> str:
    return f"owner_{secrets.token_hex(8)}"
