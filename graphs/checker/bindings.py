"""Bindings in the tree: parse them, put the environment in, check the names they use, compile values to templates."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from graphs.language import LanguageError, bindings, parse, references, resolve_env, typed
from graphs.language.nodes import Binding, Constant, ListTemplate, MappingTemplate, Offsets, Reference, Template, Text
from graphs.source import (
    Bound,
    Diagnostic,
    Entry,
    ListNode,
    MappingNode,
    Mistakes,
    Node,
    Scalar,
    Span,
    offsets_in_source,
)
from graphs.suggest import did_you_mean

Lookup = Callable[[str], str | None]

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
FIXED_FIELDS = {"run": ("id", "workflow"), "session": ("id",), "error": ("type", "message")}


SHORTEST_SECRET = 8
"""Of the values hidden wherever they occur; a shorter one is hidden where it is used, lest it garble other words."""


@dataclass
class Environment:
    """What `${env.NAME}` finds, and what it found: the values that must never be shown."""

    lookup: Lookup
    found: dict[str, str] = field(default_factory=dict[str, str])
    """Values, each with how the document writes it."""
    missing: dict[str, list[tuple[Span, str]]] = field(default_factory=dict[str, list[tuple[Span, str]]])
    """Names that are not set: where they are used, and the path of the value."""

    def get(self, name: str) -> str | None:
        value = self.lookup(name)
        if value:
            self.found.setdefault(value, f"${{env.{name}}}")
        return value

    def secrets(self) -> frozenset[str]:
        """Return what a running application must not show: not what reads like a switch, a small number, a letter."""
        return frozenset(
            value for value in self.found if len(value) >= SHORTEST_SECRET or (len(value) > 3 and typed(value) == value)
        )

    def hidden(self) -> dict[str, str]:
        """Return what no message of the checker may show, each with what it shows instead."""
        return {value: shown for value, shown in self.found.items() if len(value) >= SHORTEST_SECRET}


def resolve(node: Node, environment: Environment, mistakes: Mistakes) -> Node:
    """Return the tree with every `${…}` parsed and every `${env.…}` replaced."""
    match node.kind:
        case "mapping":
            entries = {
                key: Entry(key, entry.key_span, resolve(entry.node, environment, mistakes))
                for key, entry in node.entries.items()
            }
            return MappingNode(entries, node.span, node.path)
        case "list":
            return ListNode([resolve(item, environment, mistakes) for item in node.items], node.span, node.path)
        case "bound":
            return node
        case "scalar":
            return _resolve_scalar(node, environment, mistakes)


def _resolve_scalar(node: Scalar, environment: Environment, mistakes: Mistakes) -> Node:
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    try:
        template = parse(node.value)
    except LanguageError as error:
        hint = _cut_short(node) or _chunks_of_a_job(node, error.at) or error.hint
        mistakes.add(span_in(node, error.at), error.message, hint, node.path)
        return _broken(node, mistakes)
    resolved = resolve_env(template, environment.get)
    for unset in resolved.unset:
        environment.missing.setdefault(unset.name, []).append((span_in(node, unset.at), node.path))
    for error in resolved.errors:
        mistakes.add(span_in(node, error.at), error.message, error.hint, node.path)
    if resolved.unset or resolved.errors:
        return _broken(node, mistakes)
    if isinstance(resolved.template, Constant):
        return Scalar(
            resolved.template.value, node.span, node.path, shown=None if template == resolved.template else node.value
        )
    return Bound(_with_source(resolved.template, node), node)


def _cut_short(node: Scalar) -> str | None:
    """Return the hint for a binding that a ` #` ended: to YAML, a comment begins there."""
    source, span = node.span.source, node.span
    line = source.lines[span.line - 1]
    rest = line[span.column - 1 + len(span.text) :]
    open_ended = str(node.value).rfind("${") > str(node.value).rfind("}")
    return "' #' begins a comment; put the value in quotes" if open_ended and rest.lstrip().startswith("#") else None


CHUNKS_OF_A_JOB = re.compile(r"\$\{\s*(jobs\.[\w-]+\.output)\[\]([^{}]*)\}")


def _chunks_of_a_job(node: Scalar, at: Offsets) -> str | None:
    """Return the hint for `jobs.x.output[]`: a job's output streams without being named chunk by chunk."""
    for found in CHUNKS_OF_A_JOB.finditer(str(node.value)):
        if found.start() <= at[0] < found.end():
            return f"write ${{{found[1]}{found[2]}}}; it streams if the job's output does"
    return None


def _broken(node: Scalar, mistakes: Mistakes) -> Bound:
    """Stand in for a value that can't be known, about which nothing more is told."""
    mistakes.silence(node.span)
    return Bound(Binding(Reference("input", (), (0, 0)), (0, 0)), node)


def report_missing(environment: Environment, mistakes: Mistakes) -> None:
    """Tell every variable that is unset and has no default, where it is used first."""
    for name, uses in sorted(environment.missing.items()):
        span, path = uses[0]
        message = f"the environment variable {name} is not set"
        hint = f"set it, put it into .env, or write ${{env.{name} | default}}"
        mistakes.found.append(Diagnostic(span, message, hint, path))


def span_in(node: Scalar, at: Offsets) -> Span:
    """Return where a piece of a scalar's text stands in its file."""
    source = node.span.source
    offsets = offsets_in_source(source, node.span, str(node.value))
    last = len(offsets) - 1
    start, end = min(at[0], last), min(at[1], last)
    return source.span(offsets[start], offsets[end - 1] + 1 if end > start else offsets[start])


def _with_source(template: Template, node: Scalar) -> Template:
    """Note in every binding where it stands, for the errors of a run."""
    match template.kind:
        case "binding":
            return dataclasses.replace(template, source=_place(span_in(node, template.at)))
        case "text":
            parts = tuple(
                part if isinstance(part, str) else dataclasses.replace(part, source=_place(span_in(node, part.at)))
                for part in template.parts
            )
            return Text(parts)
        case _:
            return template


def _place(span: Span) -> str:
    """Return where it is without the folder: callers of the API are told, and the server's folders are not theirs to know."""
    return f"{PurePath(span.source.name).name}:{span.line}:{span.column}"


@dataclass(frozen=True)
class Visible:
    """The names that bindings at one place can see."""

    what: str
    names: frozenset[str]
    chunked: frozenset[str] = frozenset()
    """Names X for which `X[]` has a meaning."""
    jobs: tuple[str, ...] | None = ()
    """None when a mistake hides which there are."""
    routers: frozenset[str] = frozenset()
    this_job: str | None = None


def check_names(node: Node | None, visible: Visible, mistakes: Mistakes) -> None:
    """Tell every reference below a node to something that isn't there."""
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
        return 1, f"job '{job}' refers to its own output", "only its `output` can read its own result, which is called output there"
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
    if node is None:
        return
    match node.kind:
        case "bound":
            yield node
        case "mapping":
            for entry in node.entries.values():
                yield from bounds(entry.node)
        case "list":
            for item in node.items:
                yield from bounds(item)
        case "scalar":
            return


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
            items = tuple((key, _template(entry.node)) for key, entry in node.entries.items())
            if all(isinstance(item, Constant) for _, item in items):
                return Constant({key: item.value for key, item in items if isinstance(item, Constant)})
            return MappingTemplate(items)
        case "list":
            each = tuple(_template(item) for item in node.items)
            if all(isinstance(item, Constant) for item in each):
                return Constant([item.value for item in each if isinstance(item, Constant)])
            return ListTemplate(each)


def _template(node: Node) -> Template:
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
