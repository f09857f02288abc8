"""What a transport reads of a run: the events of one that it started, or the log of one that is kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from deployments.gateway.entries import ENDS, Entry, LogEvent
from deployments.gateway.kept import Kept, RunInfo
from deployments.runs.events import Delta, Event, Finished, Joining, Run, raise_failure
from graphs.context import RunContext
from graphs.language.nodes import MappingTemplate
from graphs.plan import OutputKind, WorkflowPlan


class Running:
    """An active run: read its events to their end, or close it, which cancels its jobs."""

    number: int | None = None
    """The number of the newest event in the run's log; None where none is kept."""

    def __init__(self, run: Run, workflow: WorkflowPlan | None, events: AsyncGenerator[LogEvent | Event, None]) -> None:
        """`workflow` is None for an old run of one that the document no longer has."""
        self.run = run
        self._workflow = workflow
        self._events = events

    @property
    def kind(self) -> OutputKind:
        """How the workflow writes its output."""
        return OutputKind() if self._workflow is None else self._workflow.output_kind

    def __aiter__(self) -> AsyncIterator[LogEvent | Event]:
        return self._events

    async def finish(self) -> Finished:
        """Read to the end and return it, with a streamed output joined; raise the run's error if it failed."""
        joining = Joining(self.kind.names, self._keys())
        async for event in self._events:
            if isinstance(event, Delta):
                joining.add(event)
                continue
            raise_failure(event)
            if isinstance(event, Finished):
                return Finished(joining.value(), streamed=True, notes=event.notes) if event.streamed else event
        raise AssertionError("a run's last event is its end")

    def _keys(self) -> tuple[str, ...]:
        output = None if self._workflow is None else self._workflow.output
        return tuple(name for name, _ in output.items) if isinstance(output, MappingTemplate) else ()

    async def aclose(self) -> None:
        """Cancel the run's jobs, and wait until they have ended."""
        await self._events.aclose()


class Following(Running):
    """A reader of a kept run, wherever it runs. To close it stops the reading; whether it stops the run is the run's to say."""

    def __init__(
        self, kept: Kept, info: RunInfo, workflow: WorkflowPlan | None, after: int = -1, priming: int = 0
    ) -> None:
        run = Run(RunContext(info.id, info.workflow, info.session_id), None, info.created_at)
        super().__init__(run, workflow, self._read())
        self._kept, self._after, self._priming = kept, after, priming
        self.info = info
        self.at = info.created_at
        """When the newest event was said."""
        self.over = False
        """Whether the run's end was read: an error before that is one of the reading."""

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Yield the entries of the log."""
        async with self._kept.following(self.info.id, self._after, self._priming) as entries:
            async for entry in entries:
                yield entry

    async def _read(self) -> AsyncGenerator[LogEvent, None]:
        async with self._kept.following(self.info.id, self._after, self._priming) as entries:
            async for entry in entries:
                self.number, self.at = entry.first, entry.at
                self.over = isinstance(entry.event, ENDS)
                yield entry.event
