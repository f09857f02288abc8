"""The store of kept runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from deployments.store.rows import Existing, NewRun, RunRow, Segment, Source


class Store:
    """Kept runs in a database that several processes may share."""

    trouble: str | None
    """Why the last write failed; None when all is well."""
    owner: str
    """The id under which this process owns the runs that it accepts."""
    on_buried: Callable[[], None] | None
    """Called when another process has buried this owner. What was to be written is dropped, and `owner` is a new one."""

    @classmethod
    async def open(cls, url: str, *, create: bool = True, every: float = 0.05) -> Store | None:
        """Open the store, and make or upgrade its tables; with `create=False`, return None where there is none.

        What sources have said is written `every` so many seconds. Raise StoreDown if the store can't be opened.
        """
        raise NotImplementedError

    async def accept(self, run: NewRun) -> Existing | None:
        """Keep a new run, committed when this returns; return the run that its key stands for already, if there is one.

        Raise StoreDown if that fails: nothing of the run is kept then.
        """
        raise NotImplementedError

    def mark(self, source: Source) -> None:
        """Have the writer take what this source has said, soon; it tries until that is written."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Wait until all that is marked now is written; raise StoreDown when a try fails."""
        raise NotImplementedError

    async def run(self, id: str) -> RunRow | None:
        """Return a run's row; None if there is no such run."""
        raise NotImplementedError

    async def runs(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        session: str | None = None,
        caller: str | None = None,
        before: str | None = None,
        limit: int,
    ) -> list[RunRow]:
        """Return runs, the newest first; those older than the run `before`, where it is given."""
        raise NotImplementedError

    async def segments(self, run: str, first: int, last: int | None = None, limit: int = 64) -> list[Segment]:
        """Return the segments that hold numbers from `first` (to `last`) on, in order, at most `limit` of them."""
        raise NotImplementedError

    async def tail(self, positions: Mapping[str, int], limit: int = 1024) -> list[Segment]:
        """Return of every run the segments that begin after its position, by run and number; in one query.

        At most `limit` of them: what is left comes with the next call.
        """
        raise NotImplementedError

    async def ask_to_stop(self, run: str) -> None:
        """Ask the owner of an active run to stop it."""
        raise NotImplementedError

    async def asked_to_stop(self) -> list[str]:
        """Return the active runs of this owner that another process asks to stop."""
        raise NotImplementedError

    async def reading(self, runs: Collection[str]) -> None:
        """Say that readers follow these runs here: `reads` of each goes up by one."""
        raise NotImplementedError

    async def beat(self) -> None:
        """Say that this owner is alive; every write of the writer says so too."""
        raise NotImplementedError

    async def beats(self) -> dict[str, int]:
        """Return the count of every owner."""
        raise NotImplementedError

    async def bury(self, owner: str, beat: int, kind: int, body: bytes) -> list[str]:
        """End the active runs of an owner whose count stands still, as failed; return their ids.

        Each gets a last segment of this kind and body. Nothing happens if the count has moved on from `beat`, or if the
        database was locked for so long that the owner may have been waiting for it.
        """
        raise NotImplementedError

    async def forget(self, run: str) -> bool:
        """Delete a run that has ended, with its log and key; return whether there was one."""
        raise NotImplementedError

    async def sweep(self, *, older_than: float | None, max_size: int | None, step: int = 100) -> int:
        """Delete some ended runs, the first to end first; return how many went, 0 when there are no more to delete.

        Those that ended before the moment `older_than` (as `time.time()`), and as many as are needed for all logs to take no more than
        `max_size` bytes. A call deletes at most `step` runs.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Write what is marked, for a few seconds at most, and close the connections."""
        raise NotImplementedError
