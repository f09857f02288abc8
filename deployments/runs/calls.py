"""A call of a component, or of a workflow that stands as one -> what it gives, mapped by its output template."""

from __future__ import annotations

from typing import assert_never

from deployments.runs.events import Invocation
from deployments.runs.site import Names, Site
from deployments.streams.inside_values import Opened, apart, joined, mapped, streams_in
from graphs.component import ANSWER, Whole
from graphs.language import Scope, render
from graphs.plan import Call, ComponentCall, WorkflowCall
from graphs.stream import Note, Stream, Value


async def call(call: Call, names: Names, site: Site, opened: Opened) -> Value:
    """Call the component, or the workflow that stands as one, with the input the job gives it.

    `names` are what the call's input may read. The streams that the answer opens, and its notes, are added to `opened`.
    """
    input = await render(call.input, Scope(names))
    match call:
        case ComponentCall():
            value = await site.invoke(Invocation(call.component, call.action, input, site.run.context))
            return _kept(value, opened)
        case WorkflowCall():
            return await _call_workflow(call, input, names, site, opened)
        case _:
            assert_never(call)


async def _call_workflow(call: WorkflowCall, input: Value, names: Names, site: Site, opened: Opened) -> Value:
    """Run the other workflow. Its input is joined, for it may be read in many places."""
    seen = {"input": (await joined(input))[0], "run": names["run"], "session": names["session"]}
    value = _kept(await site.nest(call.workflow, await render(call.action_input, Scope(seen))), opened)
    value = await mapped(call.output, seen, ANSWER, value)
    # The job's own output reads what this one gives, in any order.
    value = apart(value, site.share)
    for stream in streams_in(value):
        opened.add(stream)
    return value


def _kept(value: Value | Stream | Whole, opened: Opened) -> Value | Stream:
    """Return the answer without its notes; these, or the stream that it is, are added to `opened`."""
    if isinstance(value, Whole):
        opened.notes.append(Note(value.notes or {}))
        return value.value
    opened.add(value)
    return value
