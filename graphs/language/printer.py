"""Templates and expressions -> the text that parses into them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import assert_never

from graphs.language import nodes
from graphs.stream import Value

OR, AND, NOT, COMPARISON, OPERAND = range(5)

OPENING = re.compile(r"(\\*)(\$\{)")
PARENTHESES = re.compile(r"[()\\]")
ESCAPED = r"\\\g<0>"
BACKSLASHES = re.compile(r"\\+\Z")


def print_template(template: nodes.Template) -> str:
    """Return the text of a template; mappings, lists and values that are no text are written as YAML flow."""
    match template:
        case nodes.Constant(value=value):
            return _literal_text(value) if isinstance(value, str) else print_value(value)
        case nodes.Binding():
            return print_binding(template)
        case nodes.Text(parts=parts):
            return "".join(
                print_binding(part) if isinstance(part, nodes.Binding) else _literal_text(part, index + 1 < len(parts))
                for index, part in enumerate(parts)
            )
        case nodes.MappingTemplate(items=items):
            return "{" + ", ".join(f"{key}: {print_template(item)}" for key, item in items) + "}"
        case nodes.ListTemplate(items=items):
            return "[" + ", ".join(print_template(item) for item in items) + "]"
        case nodes.Overlaid(below=below, above=above):
            return f"{print_template(below)} <- {print_template(above)}"
        case _:
            assert_never(template)


def print_binding(binding: nodes.Binding) -> str:
    """Return `${…}`."""
    pieces = [print_expression(binding.expr)]
    if binding.cast is not None:
        pieces.append(f"as {print_type(binding.cast)}")
    match binding.default:
        case None:
            pass
        case nodes.Binding() as default:
            pieces.append(f"| {print_binding(default)}")
        case nodes.Literal_(shown=str() as shown):
            pieces.append(f"| ${{{shown}}}")
        case nodes.Literal_(value=value):
            pieces.append(f"| {print_value(value)}")
    if binding.final_cast is not None:
        pieces.append(f"as {print_type(binding.final_cast)}")
    pieces.extend(f"@({each.name} {PARENTHESES.sub(ESCAPED, each.text)})" for each in binding.annotations)
    return "${" + " ".join(pieces) + "}"


def print_type(type: nodes.Type) -> str:
    """Return `name/subtype;format`."""
    subtype = f"/{type.subtype}" if type.subtype is not None else ""
    format = f";{type.format}" if type.format is not None else ""
    return f"{type.name}{subtype}{format}"


def print_expression(expr: nodes.Expr, binds: int = OR) -> str:
    """Return the expression, in parentheses where one that binds at least as tightly as `binds` is needed."""
    match expr:
        case nodes.Literal_():
            return expr.shown if expr.shown is not None else print_value(expr.value)
        case nodes.Reference():
            return print_reference(expr)
        case nodes.Not(operand=operand):
            own, text = NOT, f"not {print_expression(operand, NOT)}"
        case nodes.Comparison(op=op, left=left, right=right):
            own, text = (COMPARISON, f"{print_expression(left, OPERAND)} {op} {print_expression(right, OPERAND)}")
        case nodes.Logic(op=op, operands=operands):
            own = OR if op == "or" else AND
            text = f" {op} ".join(print_expression(operand, own + 1) for operand in operands)
        case _:
            assert_never(expr)
    return text if own >= binds else f"({text})"


def print_reference(reference: nodes.Reference) -> str:
    """Return `name[].step[0]`."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in reference.path)
    return f"{reference.name}{'[]' if reference.chunked else ''}{steps}"


def print_value(value: Value) -> str:
    """Return a value as a literal of the language."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case Mapping():
            return "{" + ", ".join(f"{print_value(key)}: {print_value(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(print_value, value)) + "]"
        case _:
            return repr(value)


def _literal_text(text: str, before_binding: bool = False) -> str:
    r"""Return `text` with its `${` escaped, and the backslashes doubled that would otherwise escape what follows."""
    escaped = OPENING.sub(lambda match: match[1] * 2 + "\\${", text)
    return BACKSLASHES.sub(lambda match: match[0] * 2, escaped) if before_binding else escaped
