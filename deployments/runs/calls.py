"""A call of a component, or of a workflow that stands as one -> what it gives, mapped by its output template."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from deployments.runs.clock import Clock
from deployments.runs.events import Invocation, Run
from deployments.streams.inside_values import Opened, apart, drain, joined, streams_in
from deployments.streams.share import Spawn, share
from graphs.component import Whole
from graphs.language import Scope, references, render
from graphs.language.nodes import Template
from graphs.plan import Call, ComponentCall, WorkflowCall
from graphs.stream import Note, Stream, Value

Invoke = Callable[[Invocation], Awaitable[Value | Stream | Whole]]
"""Calls a component. The Stream it returns owns the call: closing it, or cancelling the wait for it, cancels the call.
A Whole is a plain value that comes with notes."""

Names = Mapping[str, Value]
"""What a job's templates can see."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the jobs of one run have around them."""

    run: Run
    invoke: Invoke
    nest: Callable[[str, Value], Awaitable[Value | Stream | Whole]]
    """Runs another workflow inside this run."""
    spawn: Spawn
    clock: Clock
    chance: Callable[[], float]
    """At least 0, below 1."""


async def call(call: Call, names: Names, site: Site, opened: Opened) -> Value:
    """Call the component, or the workflow that stands as one, with the input the job gives it."""
    input = await render(call.input, Scope(names))
    match call:
        case ComponentCall():
            value = await site.invoke(Invocation(call.component, call.action, input, site.run.context))
            return _kept(value, opened)
        case WorkflowCall():
            return await _call_workflow(call, input, names, site, opened)
        case _:
            assert_never(call)


async def mapped(template: Template | None, names: Names, result: tuple[str, ...], value: Value) -> Value:
    """Return `value` as the output template maps it, seen there under each name of `result`."""
    if template is None:
        return value
    if not any(reference.name in result for reference in references(template)):
        await drain(value)
    return await render(template, Scope({**names, **dict.fromkeys(result, value)}))


async def _call_workflow(call: WorkflowCall, input: Value, names: Names, site: Site, opened: Opened) -> Value:
    """Run the other workflow. What it is given is joined: it may read it in many places."""
    seen = {"input": (await joined(input))[0], "run": names["run"], "session": names["session"]}
    value = _kept(await site.nest(call.workflow, await render(call.action_input, Scope(seen))), opened)
    value = await mapped(call.output, seen, ("result", "response"), value)
    # The job's own output reads what this one gives, in any order.
    value = apart(value, lambda stream, readers: share(stream, readers, site.spawn, site.run.id))
    for stream in streams_in(value):
        opened.add(stream)
    return value


def _kept(value: Value | Stream | Whole, opened: Opened) -> Value | Stream:
    """Return what was answered; its notes, or the stream that it is, are kept with what was opened."""
    if isinstance(value, Whole):
        opened.notes.append(Note(value.notes or {}))
        return value.value
    opened.add(value)
    return value
