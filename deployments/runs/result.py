"""The outcomes of a workflow's jobs -> its result: the output of one of them, or what the workflow's `output` makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial

from deployments.runs.events import Delta
from deployments.runs.outcome import why_no_result
from deployments.runs.output_parts import AsRead, Part, Unsettled
from deployments.runs.schedule import RESULT, Schedule
from deployments.runs.site import EventQueue, Site
from deployments.streams.inside_values import apart, copies, drain, joined, sources, streams_in
from deployments.streams.tasks import task_group
from graphs.errors import AnabranchError
from graphs.language import Scope, bindings, render
from graphs.language.nodes import Reference, Template
from graphs.plan import WorkflowPlan
from graphs.stream import Note, Stream, Value


class Result:
    """Finds the result as soon as the jobs that decide it have settled, and puts it into the queue of events.

    Which job's output it is never depends on which ended first.
    """

    def __init__(self, workflow: WorkflowPlan, schedule: Schedule, site: Site, events: EventQueue) -> None:
        self.streamed = False
        self.value: Value = None
        self.notes: tuple[Note, ...] = ()
        self._workflow, self._wiring, self._events = workflow, workflow.wiring, events
        self._schedule, self._outcomes, self._site = schedule, schedule.outcomes, site
        self._template = workflow.wiring.output.template
        self._parts: list[Part] = []
        self._final: tuple[str | None] | None = None
        """The job whose output is `output`, once that is decided; there may be none."""
        self._released: set[str] = set()
        self._order: list[str] = []

    async def give(self, side_by_side: bool) -> None:
        """Give the result: a plain one in `value`, a stream in the queue.

        With `side_by_side`, several streams in a mapping go into the queue together; without, they are joined.
        """
        entries = self._wiring.entries if side_by_side else {}
        if entries and not any(reads.chunked for reads in entries.values()):
            parts = {name: Part(reads) for name, reads in entries.items()}
            self._parts = [*parts.values()]
            self._release_unread()
            await self._give_named({name: partial(self._find, part) for name, part in parts.items()})
        else:
            self._parts = [Part(self._wiring.output)]
            self._release_unread()
            if await self._give_one(self._parts[0], side_by_side):
                return
        await self.close()

    async def close(self) -> None:
        """Close what the result took and didn't read."""
        for id in self._taken():
            for stream in self._streams_of(id):
                await stream.aclose()

    # --- finding it --------------------------------------------------------------------------------------------------

    async def _find(self, part: Part) -> Value:
        """Return the part's value, as soon as the jobs that decide it have settled."""
        try:
            value = await self._rendered(part)
        except AnabranchError:
            if not _has_default(self._template) and (nothing := await self._nothing()):
                raise nothing from None
            raise
        part.known = True
        await self._close_unread(part, value)
        self._release_unread()
        return value

    async def _rendered(self, part: Part) -> Value:
        reads = part.reads
        if reads.at_once:
            for id in reads.jobs:
                await self._outcomes[id].settled.wait()
            if reads.final:
                await self._decide_final()
            seen = self._schedule.scope({id: self._read(part, id) for id in reads.jobs})
            seen["output"] = self._read_final(part) if reads.final else None
            return await render(reads.template, Scope(seen))
        if reads.first is not None:
            await self._settled(reads.first)
        jobs = AsRead(reads.jobs, lambda job: {"output": self._read(part, job)})
        seen = {**self._schedule.scope({}), "jobs": jobs}
        names = AsRead({*seen, "output"}, lambda name: self._read_final(part) if name == "output" else seen[name])
        while True:
            try:
                return await render(reads.template, Scope(names))
            except Unsettled as unsettled:
                await unsettled.settled()

    async def _settled(self, reference: Reference) -> None:
        """Wait until the job whose output is read has settled."""
        if reference.name == "output":
            await self._decide_final()
        elif reference.name == "jobs" and reference.path and reference.path[0] in self._workflow.reads:
            await self._outcomes[str(reference.path[0])].settled.wait()

    def _read(self, part: Part, id: str) -> Value:
        outcome = self._outcomes[id]
        if not outcome.settled.is_set():
            raise Unsettled(outcome.settled.wait)
        if id not in part.taken:
            self._hand_out(id)
        return part.taken[id]

    def _read_final(self, part: Part) -> Value:
        if self._final is None:
            raise Unsettled(self._decide_final)
        (final,) = self._final
        return None if final is None else self._read(part, final)

    def _hand_out(self, id: str) -> None:
        """Give the job's output to every part that may read it: a stream that a part has begun can't be shared later."""
        outcome = self._outcomes[id]
        readers = [part for part in self._parts if self._may_read(part, id)]
        value = outcome.take(RESULT)
        shares = copies(value, len(readers), self._share) if outcome.streams else [value] * len(readers)
        for part, share in zip(readers, shares, strict=True):
            part.taken[id] = share

    def _may_read(self, part: Part, id: str) -> bool:
        if part.known:
            return False
        finals = self._wiring.finals if self._final is None else self._final
        return id in part.reads.jobs or (part.reads.final and id in finals)

    def _share(self, stream: Stream, readers: int) -> list[Stream]:
        # No job waits for what the result reads, and so one part can wait for another, which may not be known yet.
        return self._site.share(stream, readers, patient=True)

    async def _decide_final(self) -> None:
        """Find the last job in document order that ran and that no other reads."""
        if self._final is not None:
            return
        final = None
        for id in self._wiring.finals:
            await self._outcomes[id].settled.wait()
            if self._outcomes[id].status == "completed":
                final = id
                break
        self._final = (final,)
        self._release_unread()

    async def _nothing(self) -> AnabranchError | None:
        """Return the error of a workflow none of whose possible outputs is there; None if there is one."""
        asked = {*self._workflow.reads, *(self._wiring.finals if self._wiring.needs_final else ())}
        if not asked and not self._wiring.needs_final:
            return None
        for outcome in sorted([self._outcomes[id] for id in asked], key=lambda each: not each.settled.is_set()):
            await outcome.settled.wait()
            if outcome.status == "completed":
                return None
        return why_no_result(self._workflow, self._outcomes, asked)

    # --- letting go of the rest --------------------------------------------------------------------------------------

    async def _close_unread(self, part: Part, value: Value) -> None:
        """Close what the part was handed and doesn't hold: what no reader takes would only grow."""
        if part.reads.chunked:  # other streams are read with the first chunk
            return
        streams = [stream for id in part.taken if self._outcomes[id].streams for stream in streams_in(part.taken[id])]
        held = {id(source) for stream in streams_in(value) for source in sources(stream)} if streams else ()
        for stream in streams:
            if id(stream) not in held:
                await stream.aclose()

    def _release_unread(self) -> None:
        """Release the outputs that no part reads, or will read."""
        for id in {*self._wiring.finals, *self._workflow.reads} - self._released:
            if not any(id in part.taken or self._may_read(part, id) for part in self._parts):
                self._released.add(id)
                self._site.spawn(self._release(id))

    async def _release(self, id: str) -> None:
        """Close the job's streams; or read them to their end, if the document has the job for its effect alone."""
        outcome = self._outcomes[id]
        await outcome.settled.wait()
        if not outcome.streams:
            return
        if id not in self._workflow.reads:
            await drain(outcome.take(RESULT))
            return
        for stream in streams_in(outcome.take(RESULT)):
            await stream.aclose()

    # --- giving it ---------------------------------------------------------------------------------------------------

    async def _give_one(self, part: Part, side_by_side: bool) -> bool:
        """Give the value of the whole template; return whether the reader of the events closes the result."""
        value = await self._find(part)
        if isinstance(value, Stream) and value.joined is None:
            return await self._hand_over(value)
        if side_by_side and isinstance(value, dict) and any(map(_flows, value.values())):
            parts: dict[str, Value] = apart(value, self._share)
            await self._give_named({name: partial(_known, part) for name, part in parts.items()})
        else:
            await self._keep(*await self._whole(value))
        return False

    async def _give_named(self, finds: Mapping[str, Callable[[], Awaitable[Value]]]) -> None:
        """Give the parts of a mapping side by side, each as soon as it is known; as one value, if no stream is among them."""
        wholes: dict[str, Value] = {}
        notes: list[Note] = []
        self._order = list(finds)
        async with task_group() as group:
            for name, find in finds.items():
                group.create_task(self._give_part(name, find, wholes, notes))
        if not self.streamed:
            await self._keep({name: wholes[name] for name in finds}, notes)

    async def _give_part(
        self, name: str, find: Callable[[], Awaitable[Value]], wholes: dict[str, Value], notes: list[Note]
    ) -> None:
        """Give a stream as it comes. Plain parts, and those with streams deeper in them, wait for a first stream."""
        value = await find()
        if _flows(value):
            self.streamed = True
            await asyncio.sleep(0)  # plain parts that are known by now come first
            await self._offer_all(wholes)
            async with aclosing(value.batches()) as batches:
                async for batch in batches:
                    await self._events.put_and_wait(Delta(batch, name))
            return
        wholes[name], held = await self._whole(value)
        notes += held
        if self.streamed:
            await self._offer_all(wholes)

    async def _offer_all(self, wholes: dict[str, Value]) -> None:
        while wholes:
            name = min(wholes, key=self._order.index)
            await self._events.put_and_wait(Delta([wholes.pop(name)], name, whole=True))

    async def _hand_over(self, stream: Stream) -> bool:
        """Give the stream itself to the reader of the events, once all jobs are done: no task is then in between.

        Return whether it was given, and its reader closes the result; False if the stream ended before.
        """
        self.streamed = True
        if self._schedule.unsettled == 0:
            self._events.put(stream)
            return True
        batches = stream.batches()
        async with AsyncExitStack() as opened:
            opened.push_async_callback(batches.aclose)
            while self._schedule.unsettled:
                batch = await anext(batches, None)
                if batch is None:
                    return False
                await self._events.put_and_wait(Delta(batch))
            opened.pop_all()
        self._events.put(Stream(batches, stream.aclose))
        return True

    async def _whole(self, value: Value) -> tuple[Value, tuple[Note, ...]]:
        # What is made of no streams isn't searched for them, large as it may be.
        return await joined(value) if any(self._outcomes[id].streams for id in self._taken()) else (value, ())

    async def _keep(self, value: Value, notes: Iterable[Note]) -> None:
        """Keep a plain result, with the notes of all that it was made of."""
        nothing = await self._nothing()
        if nothing and (not _has_default(self._template) or _is_void(value)):
            raise nothing
        self.value = value
        taken = self._taken()
        said = [note for id in taken for note in self._outcomes[id].notes]
        said += [note for id in taken for stream in self._streams_of(id) for note in stream.notes]
        self.notes = tuple({id(note): note for note in (*said, *notes)}.values())

    def _taken(self) -> list[str]:
        return [id for id in self._workflow.jobs if any(id in part.taken for part in self._parts)]

    def _streams_of(self, id: str) -> Iterator[Stream]:
        """Yield the job's streams that parts were handed."""
        if self._outcomes[id].streams:
            for part in self._parts:
                yield from streams_in(part.taken.get(id))


async def _known(value: Value) -> Value:
    return value


def _flows(value: Value) -> bool:
    return isinstance(value, Stream) and value.joined is None


def _has_default(template: Template) -> bool:
    return any(binding.default is not None for binding in bindings(template))


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
