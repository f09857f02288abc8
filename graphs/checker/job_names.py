"""The names that a job uses: those its bindings can see, and the jobs that it reads, waits for or leads to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from graphs.checker import bindings
from graphs.checker.bindings import Visible
from graphs.checker.drafts import Draft, Surroundings
from graphs.document import job_types
from graphs.language import references
from graphs.source import MappingNode, Mistakes, Node, Span
from graphs.suggest import did_you_mean

JOB_NAMES = frozenset({"input", "jobs", "run", "session"})
ITEM = ("item", "index")


class _See(Protocol):
    """Checks the bindings below a node against the names known there."""

    def __call__(self, node: Node | None, what: str, *more: str, chunked: tuple[str, ...] = ()) -> None: ...


def check_scopes(
    node: MappingNode, what: str, id: str, around: Surroundings, mistakes: Mistakes, *, typed: bool
) -> None:
    """Report every binding that names what it can't see. A job whose type is unknown may be a for-each."""
    unsure = () if typed else ITEM

    def see(node: Node | None, what: str, *more: str, chunked: tuple[str, ...] = ()) -> None:
        visible = Visible(what, JOB_NAMES | {*more, *unsure}, frozenset(chunked), around.jobs, around.routers, id)
        bindings.check_names(node, visible, mistakes)

    for key, entry in node.entries.items():
        match key:
            case _ if key not in job_types.JOB_KEYS:
                continue  # reported as unknown
            case "output":
                see(entry.node, f"the output of {what}", "output", chunked=("output",))
            case "on_error":
                see(entry.node, f"on_error of {what}", "error")
            case "component" | "type" | "id":
                continue  # reported when they are no plain text
            case "do":
                _check_do_scopes(entry.node, what, see)
            case _:
                see(entry.node, what)


def _check_do_scopes(do: Node, what: str, see: _See) -> None:
    if do.kind != "mapping":  # reported as that; every name of a `do` is one that its author knows
        see(do, f"the `do` of {what}", *ITEM, "output", chunked=("output",))
        return
    for key in ("action", "input"):
        see(do.get(key), f"the `do` of {what}", *ITEM)
    see(do.get("output"), f"the output of the `do` of {what}", *ITEM, "output", chunked=("output",))


def reads(node: MappingNode) -> Iterator[tuple[str, Span]]:
    """Yield the jobs that the job's bindings read, each with where."""
    for key, entry in node.entries.items():
        if key == "component":
            continue
        for bound in bindings.bounds(entry.node):
            for reference in references(bound.template):
                if reference.name == "jobs" and reference.path:
                    yield str(reference.path[0]), bindings.span_in(bound.scalar, reference.at)


def is_known_job(name: str, span: Span, draft: Draft, verb: str, around: Surroundings, mistakes: Mistakes) -> bool:
    """Return whether a job that this one names exists and is another one."""
    path = draft.node.path
    if name == draft.id:
        mistakes.add(span, f"{draft.what} {verb} itself", "name another job", path)
        return False
    if around.jobs is None or name in around.jobs:
        return True
    hint = did_you_mean(name, around.jobs, f"Jobs: {', '.join(around.jobs)}.")
    mistakes.add(span, f"{draft.what} {verb} unknown job '{name}'", hint, path)
    return False


def span_of(node: Node | None, value: str) -> Span | None:
    """Return where a name is written in a value, or in a list of them."""
    if node is None:
        return None
    if node.kind == "list":
        return next((item.span for item in node.items if item.kind == "scalar" and item.value == value), node.span)
    return node.span
