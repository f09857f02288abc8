"""A binding and what didn't fit -> the BindingFailed that names it, without showing what may be secret."""

from __future__ import annotations

from typing import assert_never

from graphs.errors import BindingFailed
from graphs.language.nodes import Binding, Comparison, Expr, Literal_, Logic, Not, Reference
from graphs.language.operators import Unfit
from graphs.language.printer import print_binding
from graphs.language.references import references_in


def binding_failed(binding: Binding, unfit: Unfit) -> BindingFailed:
    """Return the error of a binding that can't be evaluated: it names the binding, where it stands, and what came."""
    text = print_binding(binding)
    where = f" at {binding.source}" if binding.source else ""
    shown = f" {unfit.shown}" if unfit.shown and not _may_hold_secret(binding) else ""
    details: dict[str, object] = {"binding": text}
    if binding.source:
        details["where"] = binding.source
    read = {each.path for each in references_in(binding.expr) if each.name == "input"}
    if len(read) == 1 and (path := read.pop()):
        details["field"] = ".".join(map(str, path))
    return BindingFailed(f"{text}{where}: {unfit.message}{shown}", **details)


def _may_hold_secret(binding: Binding) -> bool:
    """Whether a value from the environment stands in the binding: then no value of it is shown."""
    default = binding.default
    if isinstance(default, Binding) and _may_hold_secret(default):
        return True
    return (isinstance(default, Literal_) and default.shown is not None) or _from_environment(binding.expr)


def _from_environment(expr: Expr) -> bool:
    match expr:
        case Literal_(shown=shown):
            return shown is not None
        case Reference():
            return False
        case Not(operand=operand):
            return _from_environment(operand)
        case Logic(operands=operands):
            return any(map(_from_environment, operands))
        case Comparison(left=left, right=right):
            return _from_environment(left) or _from_environment(right)
        case _:
            assert_never(expr)
