"""The environment in a document's tree: every `${…}` is parsed, and `${env.NAME}` becomes its value."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from graphs.checker.bindings import span_in
from graphs.language import LanguageError, parse, resolve_env, typed
from graphs.language.nodes import Binding, Constant, Offsets, Reference, Template, Text
from graphs.source import Bound, Diagnostic, Mistakes, Node, Scalar, Span, replaced

Lookup = Callable[[str], str | None]

SHORTEST_SECRET = 8
"""The shortest value that is hidden wherever it occurs. A shorter one may be part of other words."""


@dataclass
class Environment:
    """What `${env.NAME}` finds, and what it found: the values that must never be shown."""

    lookup: Lookup
    found: dict[str, str] = field(default_factory=dict[str, str])
    """Values, each with how the document writes it."""
    missing: dict[str, tuple[Span, str]] = field(default_factory=dict[str, tuple[Span, str]])
    """Names that are not set: where they are used first, and the path of the value."""

    def get(self, name: str) -> str | None:
        value = self.lookup(name)
        if value:
            self.found.setdefault(value, f"${{env.{name}}}")
        return value

    def secrets(self) -> frozenset[str]:
        """Return what a running application must not show; a switch, a small number or a letter is no secret."""
        return frozenset(filter(is_secret, self.found))

    def hidden(self) -> dict[str, str]:
        """Return what no message of the checker may show, each with what it shows instead."""
        return {value: shown for value, shown in self.found.items() if len(value) >= SHORTEST_SECRET}


def is_secret(value: str) -> bool:
    """Return whether a value is hidden: long enough not to be part of other words, and no switch and no number."""
    return len(value) >= SHORTEST_SECRET or (len(value) > 3 and typed(value) == value)


def resolve(node: Node, environment: Environment, mistakes: Mistakes) -> Node:
    """Return the tree with every `${…}` parsed and every `${env.…}` replaced."""
    return replaced(node, lambda leaf: leaf if leaf.kind == "bound" else _resolved(leaf, environment, mistakes))


def _resolved(node: Scalar, environment: Environment, mistakes: Mistakes) -> Node:
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
        environment.missing.setdefault(str(unset.path[0]), (span_in(node, unset.at), node.path))
    for error in resolved.errors:
        mistakes.add(span_in(node, error.at), error.message, error.hint, node.path)
    if resolved.unset or resolved.errors:
        return _broken(node, mistakes)
    if isinstance(resolved.template, Constant):
        shown = None if template == resolved.template else node.value
        return Scalar(resolved.template.value, node.span, node.path, shown)
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
    """Stand in for a value that can't be known; nothing more is reported about it."""
    mistakes.silence(node.span)
    return Bound(Binding(Reference("input", (), (0, 0)), (0, 0)), node)


def report_missing(environment: Environment, mistakes: Mistakes) -> None:
    """Report every variable that is unset and has no default, where it is used first."""
    for name, (span, path) in sorted(environment.missing.items()):
        message = f"the environment variable {name} is not set"
        hint = f"set it, put it into .env, or write ${{env.{name} | default}}"
        mistakes.found.append(Diagnostic(span, message, hint, path))


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
    """Return the place without its folder: clients see it in errors, and must not see the server's folders."""
    return f"{span.source.file}:{span.line}:{span.column}"
