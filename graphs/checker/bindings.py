"""Bindings in the tree: check the names that they use, and compile values to templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from graphs.language import bindings, references
from graphs.language.nodes import Binding, Constant, ListTemplate, MappingTemplate, Offsets, Reference, Template
from graphs.source import Bound, Mistakes, Node, Scalar, Span, leaves, offsets_in_source
from graphs.suggest import did_you_mean

AVAILABLE_IN = {
    "input": "jobs, conditions and actions",
    "jobs": "the fields of jobs and a workflow's output; pass it in the job's `input`, and read input.NAME here",
    "output": "a job's output and a workflow's output",
    "result": "the output of a component's action",
    "response": "the output of a component's action",
    "item": "the `do` of a for-each job",
    "index": "the `do` of a for-each job",
    "error": "on_error.output",
    "run": "jobs and actions",
    "session": "jobs and actions",
    "env": "any value",
}
FIXED_FIELDS = {"run": ("id", "workflow"), "session": ("id", "messages"), "error": ("type", "message")}


def reads(root: Node, name: str, field: str) -> bool:
    """Return whether a binding anywhere below a node reads this field."""
    templates = (bound.template for bound in bounds(root))
    return any(
        each.name == name and each.path[:1] == (field,) for template in templates for each in references(template)
    )


def span_in(node: Scalar, at: Offsets) -> Span:
    """Return where a piece of a scalar's text stands in its file."""
    source = node.span.source
    offsets = offsets_in_source(source, node.span, str(node.value))
    last = len(offsets) - 1
    start, end = min(at[0], last), min(at[1], last)
    return source.span(offsets[start], offsets[end - 1] + 1 if end > start else offsets[start])


class Visible(NamedTuple):
    """The names that bindings at one place can see."""

    what: str
    names: frozenset[str]
    chunked: frozenset[str] = frozenset()
    """Names X for which `X[]` means each chunk."""
    jobs: tuple[str, ...] | None = ()
    """None when a mistake hides which there are."""
    routers: frozenset[str] = frozenset()
    this_job: str | None = None


def check_names(node: Node | None, visible: Visible, mistakes: Mistakes) -> None:
    """Report every reference below a node to something that isn't available there."""
    for bound in bounds(node):
        for binding in bindings(bound.template):
            for reference in references(binding):
                _check_reference(reference, binding, bound, visible, mistakes)


def _check_reference(
    reference: Reference, binding: Binding, bound: Bound, visible: Visible, mistakes: Mistakes
) -> None:
    found = (
        _unknown_name(reference, visible)
        or _no_chunks(reference, visible)
        or _not_in_a_job(reference, visible)
        or _no_field(reference)
    )
    if found is None:
        return
    step, message, hint = found
    ats = reference.step_ats or (reference.at,)
    at = ats[step] if step < len(ats) else reference.at
    text = str(bound.scalar.value)[binding.at[0] : binding.at[1]]
    mistakes.add(span_in(bound.scalar, at), f"{message} in {text}", hint, bound.path)


_Found = tuple[int, str, str]
"""The step of a reference that is wrong, what is wrong, and what to write."""


def _unknown_name(reference: Reference, visible: Visible) -> _Found | None:
    name = reference.name
    if name in visible.names:
        return None
    listed = f"Available here: {', '.join(sorted(visible.names))}."
    if name in AVAILABLE_IN:
        return 0, f"'{name}' is not available in {visible.what},", f"it is available in {AVAILABLE_IN[name]}. {listed}"
    variable = _variable(reference)
    if "jobs" in visible.names and name in (visible.jobs or ()):
        hint = f"did you mean jobs.{name}.output? {listed}"
    elif variable is not None:
        hint = f"write env.{variable} for an environment variable. {listed}"
    else:
        hint = did_you_mean(name, visible.names, listed)
    return 0, f"unknown name '{name}'", hint


VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|[A-Z][A-Z0-9]{2,}")
STORES = frozenset({"secrets", "secret", "vars", "environ", "environment", "process"})
"""What other tools call the place of environment variables."""


def _variable(reference: Reference) -> str | None:
    """Return the environment variable that `NAME`, `secrets.NAME` or `process.env.NAME` was probably meant to be."""
    if reference.path:
        return str(reference.path[-1]) if reference.name in STORES else None
    return reference.name if VARIABLE.fullmatch(reference.name) else None


def _no_chunks(reference: Reference, visible: Visible) -> _Found | None:
    name = reference.name
    if not reference.chunked or name in visible.chunked:
        return None
    able = " or ".join(f"{name}[]" for name in sorted(visible.chunked))
    hint = f"write {name} without []" + (f", or {able}" if able else "")
    return 0, f"'{name}[]' means each chunk, but {name} doesn't come in chunks in {visible.what},", hint


def _not_in_a_job(reference: Reference, visible: Visible) -> _Found | None:
    jobs, path = visible.jobs, reference.path
    if reference.name != "jobs" or jobs is None:
        return None
    listed = f"Jobs: {', '.join(jobs)}."
    if not path:
        return 0, "'jobs' needs the id of a job,", f"write jobs.{jobs[0]}.output. {listed}"
    job = str(path[0])
    if job not in jobs:
        return 1, f"unknown job '{job}'", did_you_mean(job, jobs, listed)
    if job == visible.this_job:
        hint = "only its `output` can read its own result, which is called output there"
        return 1, f"job '{job}' refers to its own output", hint
    if len(path) < 2 or path[1] != "output":
        got = f"'{path[1]}'" if len(path) > 1 else "nothing"
        return 2, f"expected output after 'jobs.{job}.', got {got}", f"write jobs.{job}.output"
    if job in visible.routers:
        return 1, f"job '{job}' is a router and has no output,", "read the output of a job it leads to"
    return None


def _no_field(reference: Reference) -> _Found | None:
    fields = FIXED_FIELDS.get(reference.name)
    if fields is None or (reference.path and reference.path[0] in fields):
        return None
    got = f"'{reference.path[0]}'" if reference.path else "nothing"
    expected = f"expected {' or '.join(fields)} after '{reference.name}.', got {got}"
    return 1, expected, f"write {reference.name}.{fields[0]}"


def bounds(node: Node | None) -> Iterator[Bound]:
    """Yield every scalar with bindings below a node."""
    return (leaf for leaf in (leaves(node) if node else ()) if leaf.kind == "bound")


def to_template(node: Node | None) -> Template | None:
    """Compile a value; what holds no binding becomes one Constant."""
    if node is None:
        return None
    match node.kind:
        case "scalar":
            return Constant(node.value)
        case "bound":
            return node.template
        case "mapping":
            items = tuple((key, required(entry.node)) for key, entry in node.entries.items())
            if all(isinstance(item, Constant) for _, item in items):
                return Constant({key: item.value for key, item in items if isinstance(item, Constant)})
            return MappingTemplate(items)
        case "list":
            each = tuple(required(item) for item in node.items)
            if all(isinstance(item, Constant) for item in each):
                return Constant([item.value for item in each if isinstance(item, Constant)])
            return ListTemplate(each)


def required(node: Node | None) -> Template:
    """Compile a value that is there."""
    template = to_template(node)
    assert template is not None
    return template


def fields_of(template: Template) -> Mapping[str, Template] | None:
    """Return a mapping template's items by key, None for any other shape."""
    if isinstance(template, MappingTemplate):
        return dict(template.items)
    if isinstance(template, Constant) and isinstance(template.value, dict):
        return {key: Constant(value) for key, value in template.value.items()}
    return None
