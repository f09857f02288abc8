"""Find where in a workflow's output a stream may stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from graphs.checker.bindings import fields_of
from graphs.checker.drafts import Draft
from graphs.component import ANSWER
from graphs.document import job_types
from graphs.language import chunked_names
from graphs.language.nodes import Binding, Reference, Template, flows
from graphs.plan import ComponentCall

Path = tuple[str | int, ...]
Seen = Mapping[str, Callable[[Path], bool]]
"""The names that a template can see beside `jobs`, each with whether a stream may stand at a path below it."""


class Streams(NamedTuple):
    """Follows references from output to output. Only a run knows whether a stream really comes."""

    drafts: Mapping[str, Draft]

    def in_output(self, template: Template) -> bool:
        """Return whether a part of the workflow's output may be a stream: then it flows under its own name."""
        seen: Seen = {"output": lambda path: any(self._of(each, path) for each in self.drafts.values())}
        return self._in(template, (), seen)

    def _in(self, template: Template, path: Path, seen: Seen) -> bool:
        """Return whether a stream may stand at `path` in what a template gives."""
        chunked = chunked_names(template)
        if chunked:
            return not path and any(seen[name](()) for name in chunked)
        if isinstance(template, Binding):
            return self._in_binding(template, path, seen)
        inner = (fields_of(template) or {}).get(str(path[0])) if path else None
        return inner is not None and self._in(inner, path[1:], seen)

    def _in_binding(self, binding: Binding, path: Path, seen: Seen) -> bool:
        if not flows(binding.final_cast):
            return False
        if isinstance(binding.default, Binding) and self._in_binding(binding.default, path, seen):
            return True
        return isinstance(binding.expr, Reference) and flows(binding.cast) and self._at(binding.expr, path, seen)

    def _at(self, reference: Reference, path: Path, seen: Seen) -> bool:
        path = reference.path + path
        if reference.name == "jobs":
            return self._of(self.drafts[str(path[0])], path[2:])
        return reference.name in seen and seen[reference.name](path)

    def _of(self, draft: Draft, path: Path) -> bool:
        """Return whether a stream may stand at `path` in a job's output."""
        output = draft.template("output")
        if output is None:
            return self._called(draft, path)
        return self._in(output, path, {"output": lambda path: self._called(draft, path)})

    def _called(self, draft: Draft, path: Path) -> bool:
        """Return whether a stream may stand at `path` in what a job gets, before its own `output` maps it."""
        if draft.call is None or (isinstance(draft.spec, job_types.ForEachJob) and draft.template("streaming") is None):
            return False
        output = draft.action.output if draft.action else None
        if output is None or isinstance(draft.spec, job_types.ForEachJob):
            return not path
        if path and isinstance(draft.call, ComponentCall):  # what a replica sends is a stream, or has none in it
            return False
        return self._in(output, path, _ANSWER)


_ANSWER: Seen = {name: lambda path: not path for name in ANSWER}
