"""The outcomes of a workflow's jobs -> its result: which output it is, as the workflow's `output` maps it."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing

from deployments.events import Delta
from deployments.running.blame import siblings
from deployments.running.leaves import copies, drain, joined, streams_in
from deployments.running.outbox import Outbox
from deployments.running.schedule import RESULT, Outcome, Schedule
from deployments.running.wiring import Wiring
from graphs.errors import NoResult
from graphs.language import Scope, bindings, render
from graphs.language.nodes import Template
from graphs.plan import WorkflowPlan
from graphs.stream import Note, Stream, Value


class Result:
    """Finds the result as soon as the jobs that decide it have settled, and gives it to the outbox.

    Which job's output it is never depends on which ended first.
    """

    def __init__(self, workflow: WorkflowPlan, wiring: Wiring, schedule: Schedule, outbox: Outbox) -> None:
        self.streamed = False
        self.value: Value = None
        self.notes: tuple[Note, ...] = ()
        self._workflow, self._wiring, self._outbox = workflow, wiring, outbox
        self._schedule, self._outcomes = schedule, schedule.outcomes
        self._taken: dict[str, Value] = {}

    async def give(self, side_by_side: bool) -> None:
        """Leave the result: a plain one in `value`, a stream or several side by side in the outbox."""
        value = await self._find()
        self._schedule.spawn(self._drain_others())
        if not any(self._outcomes[id].streams for id in self._taken):
            self._keep(value, ())
            return
        (value,) = copies(value, 1, self._schedule.share)
        parts = await self._parts(value) if side_by_side else {}
        if isinstance(value, Stream) and value.joined is None:
            if await self._hand_over(value):
                return
        elif parts:
            await self._side_by_side(parts)
        else:
            self._keep(*await joined(value))
        await self.close()

    async def close(self) -> None:
        """Close what the result took and didn't read."""
        for value in self._taken.values():
            for stream in streams_in(value):
                await stream.aclose()

    # --- finding it --------------------------------------------------------------------------------------------------

    async def _find(self) -> Value:
        final = await self._final() if self._wiring.needs_final else None
        for id in self._workflow.reads:
            await self._outcomes[id].settled.wait()
        read = self._workflow.reads if final is None else self._workflow.reads | {final}
        self._taken = {id: self._outcomes[id].take(RESULT) for id in read}
        nothing = self._nothing()
        template = self._workflow.output
        if nothing and not _has_default(template):
            raise nothing
        output = None if final is None else self._taken[final]
        if template is None:
            return output
        outputs = {id: self._taken[id] for id in self._workflow.reads}
        value = await render(template, Scope({**self._schedule.scope(outputs), "output": output}))
        if nothing and _is_void(value):
            raise nothing
        return value

    async def _final(self) -> str | None:
        """Return the last job in document order that ran and that no other reads."""
        for id in self._wiring.finals:
            await self._outcomes[id].settled.wait()
            if self._outcomes[id].status == "completed":
                return id
        return None

    def _nothing(self) -> NoResult | None:
        """Return the error of a workflow whose every possible output was skipped."""
        asked = {*self._workflow.reads, *(self._wiring.finals if self._wiring.needs_final else ())}
        if not asked and not self._wiring.needs_final:
            return None
        if any(self._outcomes[id].status == "completed" for id in asked):
            return None
        reasons = [self._outcomes[id].why for id in self._workflow.jobs if id in asked]
        return NoResult(
            f"workflow '{self._workflow.id}' has no result: {', '.join(reasons) or 'no job gives an output'}; "
            "write a condition that holds, or give the workflow an output",
            workflow=self._workflow.id,
        )

    # --- giving it ---------------------------------------------------------------------------------------------------

    def _keep(self, value: Value, notes: tuple[Note, ...]) -> None:
        self.value = value
        read = [note for id in self._taken for note in self._notes(id)]
        self.notes = (*read, *(note for note in notes if note not in read))

    def _notes(self, id: str) -> list[Note]:
        outcome = self._outcomes[id]
        streams = streams_in(self._taken[id]) if outcome.streams else ()
        return [*outcome.notes, *(note for stream in streams for note in stream.notes)]

    async def _hand_over(self, stream: Stream) -> bool:
        """Leave the stream itself to the reader of the events, once no other job has news: no task is then in between.

        Whoever reads it closes the result. False if the stream ended before.
        """
        self.streamed = True
        if self._schedule.unsettled == 0:
            self._outbox.tell(stream)
            return True
        batches = stream.batches()
        async with AsyncExitStack() as opened:
            opened.push_async_callback(batches.aclose)
            while self._schedule.unsettled:
                batch = await anext(batches, None)
                if batch is None:
                    return False
                await self._outbox.offer(Delta(batch))
            opened.pop_all()
        self._outbox.tell(Stream(batches, stream.aclose))
        return True

    async def _parts(self, value: Value) -> dict[str, Value]:
        """Return the mapping whose streams flow side by side, those nested deeper joined; empty if it isn't one."""
        if not isinstance(value, dict):
            return {}
        if not any(isinstance(part, Stream) and part.joined is None for part in value.values()):
            return {}
        return {
            name: part if isinstance(part, Stream) and part.joined is None else (await joined(part))[0]
            for name, part in value.items()
        }

    async def _side_by_side(self, parts: dict[str, Value]) -> None:
        self.streamed = True
        for name, part in parts.items():
            if not isinstance(part, Stream):
                await self._outbox.offer(Delta([part], name, whole=True))
        async with siblings() as group:
            for name, part in parts.items():
                if isinstance(part, Stream):
                    group.create_task(self._pump(part, name))

    async def _pump(self, stream: Stream, name: str) -> None:
        async with aclosing(stream.batches()) as batches:
            async for batch in batches:
                await self._outbox.offer(Delta(batch, name))

    async def _drain_others(self) -> None:
        """Read to their end the streams that nobody takes, of jobs that stand there for their effect."""
        async with siblings() as group:
            for id in self._wiring.finals:
                if id not in self._taken:
                    group.create_task(self._drain(self._outcomes[id]))

    async def _drain(self, outcome: Outcome) -> None:
        await outcome.settled.wait()
        if outcome.streams:
            await drain(outcome.take(RESULT))


def _has_default(template: Template | None) -> bool:
    return template is not None and any(binding.default is not None for binding in bindings(template))


def _is_void(value: Value) -> bool:
    match value:
        case None:
            return True
        case dict():
            return all(_is_void(item) for item in value.values())
        case list():
            return all(_is_void(item) for item in value)
        case _:
            return False
