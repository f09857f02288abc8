"""All kept runs, from the view of one process: start them, find, list, follow, stop and forget them, wherever they run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from deployments.gateway.entries import ENDS, Accepted, Entry, unpack
from deployments.gateway.keeper import Keeper, OnDisconnect, policy_text
from deployments.gateway.log import OwnLog, RunLog
from deployments.gateway.replicas import WRITE_EVERY, Replicas
from deployments.gateway.tails import Tails
from deployments.gateway.turns import Remembering, Turn, busy
from deployments.runs.events import Event, JobEnded, JobEvent, JobRetried, Observer, Run, RunCancelled, RunFailed
from deployments.store.rows import Busy, Existing, NewRun, RunRow, StoreDown
from graphs.errors import AnabranchError, Conflict, InvalidInput, NotFound, RunLost, Unavailable
from graphs.plan import Store as StorePlan
from graphs.stream import Value

if TYPE_CHECKING:
    from deployments.store.store import Store

logger = logging.getLogger("anabranch.runs")

Begin = Callable[[Run, Observer], AsyncGenerator[Event, None]]
"""Gives the events of a run, which begins when they are read."""

LONGEST_END = 1.0
"""Seconds for which the end of a run waits for the store, before its readers are told all the same."""
PAGE = 16
"""Segments that are read from the store at once."""
NO_STORE = (
    "this server keeps no runs: it runs on several nodes, and its document names no store that all of them reach; "
    "write controller.store: postgresql://user:password@host/database"
)
STOPPED = "it was stopped by a request"
AHEAD = 2**53 - 1
"""The number of the end for a reader that has seen more than was kept: it may know the end's own number as a chunk's."""
STOPPED_WITHIN = 15.0
"""Seconds for which a stop waits for the run's end."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How a run is kept."""

    on_disconnect: OnDisconnect = "cancel"
    key: str | None = None
    """The idempotency key of the request that starts it."""
    digest: str = ""
    """What that request says."""
    job_chunks: bool = False
    """Whether the chunks of every job are kept too."""
    asked: bool = True
    """Whether the client asks for it; False: all runs are kept."""
    request: Value = None
    """What a transport wants to find again with the run."""
    turn: Turn | None = None


class RunInfo(NamedTuple):
    """A kept run, as it is now."""

    id: str
    workflow: str
    status: str
    session_id: str | None
    created_at: float
    ended_at: float | None
    last: int
    """The number of the newest entry of its log."""
    format: str | None
    """What its first chunk is; None before."""

    @property
    def ended(self) -> bool:
        return self.ended_at is not None


class Kept:
    """The kept runs. The store is opened, and its library loaded, when one is first asked for."""

    def __init__(self, plan: StorePlan, begin: Begin, redact: Callable[[AnabranchError], AnabranchError]) -> None:
        self.plan = plan
        self._begin = begin
        self._redact = redact
        self._opening = asyncio.Lock()
        self._store: Store | None = None
        self._replicas: Replicas | None = None
        self._tails: Tails | None = None
        self._own: dict[str, Keeper] = {}
        self._closed = False
        self.remembering: Remembering | None = None

    @property
    def under_way(self) -> int:
        """Runs of this process that haven't ended."""
        return sum(not keeper.log.ended for keeper in self._own.values())

    async def start(self, run: Run, keep: Keep) -> str:
        """Keep the run, and begin it; return its id, or that of the run that its key stands for. Raise StoreDown if it can't be kept."""
        store = await self._open()
        log = OwnLog(run.id, store.mark, lambda: self._stored_all(run.id), lambda error: self._fail(run.id, error))
        context = run.context
        new = NewRun(
            id=run.id,
            workflow=run.workflow,
            session=context.session_id,
            caller=None,
            created_at=run.started_at,
            policy=policy_text(keep.on_disconnect),
            segment=log.accept(Accepted(run.workflow, run.input, context.session_id, keep.request)),
            key=keep.key,
            digest=keep.digest,
            turn=turn.new if (turn := keep.turn) is not None else None,
        )
        answer = await store.accept(new)
        if isinstance(answer, Existing):
            if answer.digest != keep.digest:
                raise InvalidInput(
                    f"the Idempotency-Key '{keep.key}' belongs to another request, that of run {answer.run}; "
                    "send each request with a key of its own",
                    field="Idempotency-Key",
                )
            return answer.run
        if isinstance(answer, Busy):
            raise busy(context.session_id, new.turn, answer)
        if self._closed:
            raise Unavailable("the server is stopping")
        keeper = Keeper(run, log, keep.on_disconnect, self._reads, lambda keeper: self._ended(keeper, turn))
        self._own[run.id] = keeper
        observer = Observer(self._telling(log), keep.job_chunks)
        before = partial(turn.begin, run, answer) if turn is not None and answer is not None else None
        keeper.begin(lambda run: self._begin(run, observer), before)
        return run.id

    async def find(self, id: str) -> RunInfo:
        """Return the run; raise NotFound."""
        own = self._own.get(id)
        if own is not None:
            return _info_of(own)
        store = await self.store()
        row = await store.run(id) if store is not None else None
        if row is None:
            raise NotFound(
                f"there is no run '{id[:80]}': it was never kept, or is forgotten; runs are kept with resumable: true, "
                "wait_for_completion: false or a session_id"
            )
        return _info(row)

    async def list(
        self, *, workflow: str | None, status: str | None, session: str | None, before: str | None, limit: int
    ) -> list[RunInfo]:
        """Return runs, the newest first."""
        store = await self.store()
        if store is None:
            return []
        rows = await store.runs(workflow=workflow, status=status, session=session, before=before, limit=limit)
        return [_info_of(self._own[row.id]) if row.id in self._own else _info(row) for row in rows]

    async def cancel(self, id: str) -> RunInfo:
        """Stop the run, wherever it runs, and return it as it is then; one that has ended stays as it is."""
        if (own := self._own.get(id)) is not None:
            own.stop(RunCancelled(STOPPED))
            await own.ended()
            return _info_of(own)
        if not (await self.find(id)).ended:
            store = await self._open()
            await store.ask_to_stop(id)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOPPED_WITHIN), self.following(id) as entries:
                    async for _ in entries:
                        pass
        return await self.find(id)

    async def forget(self, id: str) -> None:
        """Delete a run that has ended; raise Conflict for one that hasn't."""
        info = await self.find(id)
        if not info.ended:
            raise Conflict(f"run {id} is {info.status}; stop it first, with POST /tasks/{id}/cancel")
        store = await self._open()
        await store.flush()
        if self.remembering is not None and info.session_id is not None:
            await self.remembering.settle([id])
        self._own.pop(id, None)
        await store.forget(id)

    @asynccontextmanager
    async def following(self, id: str, after: int = -1, priming: int = 0) -> AsyncGenerator[AsyncIterator[Entry]]:
        """Open what the run says after a number: what is kept, then what comes, up to its end.

        Where the run has ended and the number lies beyond all that was kept, that is the end alone. So many entries
        before come first, for a reader that depends on them: `priming`. No entry holds both what comes before and after.
        """
        own = self._own.get(id)
        if own is not None:
            own.read()
        try:
            async with aclosing(await self._follow(id, own, after, priming)) as entries:
                yield entries
        finally:
            if own is not None:
                own.left()

    async def ended(self) -> None:
        """Wait until no run of this process is under way."""
        while running := [keeper for keeper in self._own.values() if not keeper.log.ended]:
            for keeper in running:
                await keeper.ended()

    async def prepare(self) -> None:
        """Open the store if all runs are kept: the first of them doesn't wait for it, and what is wrong is told early."""
        if self.plan.record == "all":
            try:
                await self._open()
            except StoreDown as down:
                logger.warning("runs can't be kept: %s", down)

    async def stop(self) -> None:
        """End the runs of this process as lost; none begins any more."""
        self._closed = True
        running = [keeper for keeper in self._own.values() if not keeper.log.ended]
        for keeper in running:
            keeper.stop(RunFailed(RunLost("the server stopped while it ran")))
        for keeper in running:
            await keeper.ended()

    async def aclose(self) -> None:
        """End the runs of this process, have all written, and close the store."""
        await self.stop()
        for each in (self._tails, self._replicas):
            if each is not None:
                await each.aclose()
        if self._store is not None:
            await self._store.aclose()

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _follow(self, id: str, own: Keeper | None, after: int, priming: int) -> AsyncGenerator[Entry, None]:
        """Return the reading of a run, from where it is; one from the start is its log as it stands."""
        info = _info_of(own) if own is not None else await self.find(id)
        if after < 0:
            return self._from(info, own, after)
        at_end = info.ended and after >= info.last
        return _parted(self._from(info, own, after if at_end else _earlier(after, info.last, priming)), after)

    def _from(self, info: RunInfo, own: Keeper | None, after: int) -> AsyncGenerator[Entry, None]:
        """Return the reading of what follows a number."""
        if own is not None:
            return self._live(own.log, after)
        return self._old(info.id, after, info.last) if info.ended else self._elsewhere(info, after)

    async def _live(self, log: RunLog, after: int) -> AsyncGenerator[Entry, None]:
        """Yield what is stored, then what is in memory, then what comes."""
        while True:
            if after + 1 < log.base:
                async for entry in self._stored(log.run, after, log.base - 1):
                    after = entry.last
                    yield entry
            elif after < log.next - 1:
                entries, after = log.since(after), log.next - 1
                if isinstance(entries[-1].event, ENDS):
                    async for entry in self._ending(log, entries):
                        yield entry
                    return
                for entry in entries:
                    yield entry
            elif log.ended:
                for entry in _end_alone(after, *log.since(log.next - 2)):
                    yield entry
                return
            else:
                await log.news()

    async def _ending(self, log: RunLog, entries: list[Entry]) -> AsyncGenerator[Entry, None]:
        """Yield the last entries; the end once it is stored, for a client that has seen it may ask another replica next."""
        for entry in entries[:-1]:
            yield entry
        if self._store is not None and isinstance(log, OwnLog) and log.behind:
            with suppress(StoreDown, TimeoutError):  # the writer tries again by itself
                async with asyncio.timeout(LONGEST_END):
                    await self._store.flush()
        yield entries[-1]

    async def _elsewhere(self, info: RunInfo, after: int) -> AsyncGenerator[Entry, None]:
        """Yield what another process's run says."""
        await self._open()
        assert self._tails is not None, "they come with the store"
        with self._tails.joined(info.id, info.last + 1) as log:
            async with aclosing(self._live(log, after)) as entries:
                async for entry in entries:
                    yield entry

    async def _old(self, id: str, after: int, last: int) -> AsyncGenerator[Entry, None]:
        """Yield what follows a number in the log of a run that has ended."""
        if after < last:
            async for entry in self._stored(id, after, last):
                yield entry
        else:
            async for end in self._stored(id, last - 1, last):
                for entry in _end_alone(after, end):
                    yield entry

    async def _stored(self, id: str, after: int, last: int) -> AsyncGenerator[Entry, None]:
        """Yield what the store has of the run, after one number up to another."""
        store = await self._open()
        while after < last:
            segments = await store.segments(id, after + 1, last, PAGE)
            if not segments:
                raise NotFound(f"run {id} is no longer kept")
            for segment in segments:
                for entry in unpack(segment.first, segment.kind, segment.body):
                    rest = entry.after(after)
                    if rest is not None and after < last:
                        after = rest.last
                        yield rest

    # --- what happens beside -----------------------------------------------------------------------------------------

    async def _open(self) -> Store:
        """Return the store, opened and made where that is needed."""
        store = await self.store(create=True)
        assert store is not None, "it was made"
        return store

    async def store(self, *, create: bool = False) -> Store | None:
        """Return the store, opened if need be; None if there is none yet."""
        if self._store is None:
            async with self._opening:
                if self._store is None:
                    await self._connect(create=create)
        return self._store

    async def _connect(self, *, create: bool) -> None:
        if self._closed:
            raise Unavailable("the server is stopping")
        if self.plan.url is None:
            if create:
                raise StoreDown(NO_STORE)
            return
        module = await asyncio.to_thread(import_module, "deployments.store.store")
        store = await module.Store.open(self.plan.url, create=create, every=WRITE_EVERY)
        if store is None:
            return
        store.on_buried = self._buried
        self._tails = Tails(store)
        self._replicas = Replicas(store, self.plan, self._stop, lambda: bool(self.under_way), self._before_sweep)
        self._store = store

    async def _reads(self, id: str) -> int:
        row = await (await self._open()).run(id)
        return 0 if row is None else row.reads

    async def _before_sweep(self, now: float) -> None:
        if self.remembering is not None:
            await self.remembering.sweep(now)

    def _stop(self, id: str) -> None:
        """Stop a run of this process, because another asks for it."""
        if (own := self._own.get(id)) is not None:
            own.stop(RunCancelled(STOPPED))

    def _buried(self) -> None:
        """Hear that other replicas took this process for dead: they have ended its runs."""
        for id, own in list(self._own.items()):
            own.log.lose()
            if own.log.ended:
                del self._own[id]  # what it ended with is not what the others say
            own.stop(RunFailed(RunLost("the replica that ran it did not answer the others for too long")))

    def _telling(self, log: OwnLog) -> Callable[[JobEvent], None]:
        def tell(event: JobEvent) -> None:
            if log.ended:
                return  # of a component that didn't stop with its run
            if isinstance(event, JobEnded | JobRetried) and event.error is not None:
                event = replace(event, error=self._redact(event.error))
            log.say(event)
            if (full := log.full()) is not None:
                self._fail(log.run, full)

        return tell

    def _fail(self, id: str, error: AnabranchError) -> None:
        if (own := self._own.get(id)) is not None:
            own.stop(RunFailed(error))

    def _stored_all(self, id: str) -> None:
        """Let go of a run that has ended and is all in the store."""
        self._own.pop(id, None)

    def _ended(self, keeper: Keeper, turn: Turn | None) -> None:
        if not keeper.log.kept:
            self._own.pop(keeper.run.id, None)
        if turn is not None:
            turn.ended(keeper.run.id)


def _end_alone(after: int, *ends: Entry) -> Iterator[Entry]:
    """Yield the end for a reader that is at it, or beyond it, without having seen it."""
    for end in ends:
        lost = isinstance(end.event, RunFailed) and isinstance(end.event.error, RunLost)
        if after < AHEAD and (after > end.first or lost):
            yield Entry(AHEAD, end.at, end.event)


async def _parted(entries: AsyncGenerator[Entry, None], after: int) -> AsyncGenerator[Entry, None]:
    """Yield entries, cut where a number stands inside one; of an end that the reader is past, what it must hear of it."""
    async with aclosing(entries):
        async for entry in entries:
            if entry.first <= after and isinstance(entry.event, ENDS):
                for end in _end_alone(after, entry):
                    yield end
            else:
                for part in entry.split(after):
                    yield part


def _earlier(after: int, last: int, priming: int) -> int:
    """Return the number after which reading begins, to come by what precedes `after`; nothing beyond `last` is there."""
    return max(-1, min(after, last) - priming) if priming else after


def _info(row: RunRow) -> RunInfo:
    return RunInfo(row.id, row.workflow, row.status, row.session, row.created_at, row.ended_at, row.last, row.output)


def _info_of(keeper: Keeper) -> RunInfo:
    run, log = keeper.run, keeper.log
    session = run.context.session_id
    return RunInfo(run.id, run.workflow, log.status, session, run.started_at, log.ended_at, log.next - 1, log.format)
