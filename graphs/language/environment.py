"""A template and a way to look up the environment -> the template without `env` references, and what was wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, assert_never

from graphs.errors import BindingFailed
from graphs.language import nodes
from graphs.language.evaluator import Scope, evaluate
from graphs.language.operators import splice
from graphs.language.references import references, references_of
from graphs.language.scalars import typed
from graphs.language.tokens import LanguageError

Lookup = Callable[[str], str | None]
"""The value of an environment variable, None when it is not set; empty text is set."""


class Resolved(NamedTuple):
    """`template` is complete when `unset` and `errors` are empty."""

    template: nodes.Template
    unset: tuple[nodes.Reference, ...]
    """References to variables that are not set and have no default."""
    errors: tuple[LanguageError, ...]


def resolve_env(template: nodes.Template, lookup: Lookup) -> Resolved:
    """Replace every `env.NAME` by its value.

    A value is never parsed for bindings. As the whole of a YAML value it takes the type its text spells; spliced
    into text, or converted by `as`, it is the text it is. An unset variable is null where its binding has a default.
    """
    if not any(reference.name == "env" for reference in references(template)):
        return Resolved(template, (), ())
    resolution = _Resolution(lookup)
    resolved = resolution.template(template)
    return Resolved(resolved, tuple(resolution.unset), tuple(resolution.errors))


@dataclass
class _Resolution:
    lookup: Lookup
    unset: list[nodes.Reference] = field(default_factory=list[nodes.Reference])
    errors: list[LanguageError] = field(default_factory=list[LanguageError])

    def template(self, template: nodes.Template) -> nodes.Template:
        match template:
            case nodes.Constant():
                return template
            case nodes.Binding():
                return self.folded(template, self.binding(template, spliced=False))
            case nodes.Text(parts=parts):
                return nodes.spliced(map(self.piece, parts))
            case nodes.MappingTemplate(items=items):
                return nodes.MappingTemplate(tuple((key, self.template(item)) for key, item in items))
            case nodes.ListTemplate(items=items):
                return nodes.ListTemplate(tuple(self.template(item) for item in items))
            case nodes.Overlaid():
                raise AssertionError("it is made of what has been resolved")
            case _:
                assert_never(template)

    def piece(self, part: str | nodes.Binding) -> str | nodes.Binding:
        if isinstance(part, str):
            return part
        folded = self.folded(part, self.binding(part, spliced=True))
        return folded if isinstance(folded, nodes.Binding) else splice(folded.value)

    def folded(self, written: nodes.Binding, binding: nodes.Binding) -> nodes.Constant | nodes.Binding:
        """Return the value of a binding that was nothing but environment, else the binding."""
        if binding == written or any(references_of(binding)):
            return binding
        try:
            return nodes.Constant(evaluate(binding, Scope({})))
        except BindingFailed as failed:
            hint = "correct the variable, or the type after 'as'"
            self.errors.append(LanguageError(failed.message, binding.at, hint))
            return nodes.Constant(None)

    def binding(self, binding: nodes.Binding, spliced: bool) -> nodes.Binding:
        if not isinstance(binding.expr, nodes.Reference) or binding.expr.name != "env":
            expr = self.expression(binding.expr, has_default=binding.default is not None)
            return replace(binding, expr=expr, default=self.default(binding, spliced))
        as_written = spliced or binding.cast is not None or binding.final_cast is not None
        text = self.variable(binding.expr, has_default=binding.default is not None)
        if text is None:
            return replace(binding, expr=_literal(binding.expr, None), default=self.default(binding, spliced))
        value = text if as_written else typed(text)
        return replace(binding, expr=_literal(binding.expr, value), default=None)

    def default(self, binding: nodes.Binding, spliced: bool) -> nodes.Default | None:
        if not isinstance(binding.default, nodes.Binding):
            return binding.default
        return self.binding(binding.default, spliced or binding.final_cast is not None)

    def expression(self, expr: nodes.Expr, has_default: bool) -> nodes.Expr:
        match expr:
            case nodes.Reference(name="env"):
                text = self.variable(expr, has_default)
                return _literal(expr, None if text is None else typed(text))
            case nodes.Reference() | nodes.Literal_():
                return expr
            case nodes.Not(operand=operand):
                return replace(expr, operand=self.expression(operand, has_default))
            case nodes.Logic(operands=operands):
                return replace(expr, operands=tuple(self.expression(each, has_default) for each in operands))
            case nodes.Comparison(left=left, right=right):
                return replace(expr, left=self.expression(left, has_default), right=self.expression(right, has_default))
            case _:
                assert_never(expr)

    def variable(self, reference: nodes.Reference, has_default: bool) -> str | None:
        match reference.path:
            case (str() as name,) if not reference.chunked:
                text = self.lookup(name)
                if text is None and not has_default:
                    self.unset.append(reference)
                return text
            case _:
                hint = "write ${env.NAME} or ${env.NAME | default}"
                self.errors.append(LanguageError("expected one name after env", reference.at, hint))
                return None


def _literal(reference: nodes.Reference, value: str | float | bool | None) -> nodes.Literal_:
    """Return the value in the reference's place, printed as the reference: it may be secret."""
    return nodes.Literal_(value, reference.at, shown=".".join(("env", *map(str, reference.path))))
