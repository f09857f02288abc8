"""What was expected and what came, in the words of messages; never a value from the environment."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import ErrorDetails

from graphs.language.tokens import shortened
from graphs.source import FOREIGN_SPACE, UNSEPARATED, Node, leaves, spaced

EXPECTED = {
    "string_type": "text", "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "bool_type": "true or false", "bool_parsing": "true or false",
    "dict_type": "a mapping", "list_type": "a list", "model_type": "a mapping", "model_attributes_type": "a mapping",
    "mapping_type": "a mapping", "tuple_type": "a list",
    "greater_than_equal": "{ge} or more", "greater_than": "more than {gt}", "less_than_equal": "at most {le}",
    "less_than": "less than {lt}", "string_too_long": "at most {max_length} characters",
    "string_too_short": "text that isn't empty",
    "string_pattern_mismatch": "a name of letters a-z and A-Z, digits, '_' and '-'",
}  # fmt: skip
"""What pydantic expected, by the kind of its error; the bounds come from the error."""


SHORTEST_WORD = 4
"""The shortest value that is replaced wherever a message holds it. A shorter one may be part of other words."""


def describe(node: Node) -> str:
    """Return what a node is, briefly, as messages show it; never a value from the environment."""
    match node.kind:
        case "mapping":
            return "a mapping" if node.entries else "an empty mapping"
        case "list":
            return "a list" if node.items else "an empty list"
        case "bound":
            return "a binding"
        case "scalar":
            if node.shown is not None:
                return node.shown
            if node.value is None:
                return "nothing"
            if isinstance(node.value, str):
                line = FOREIGN_SPACE.sub(lambda odd: f"\\u{ord(odd[0]):04x}", node.value.replace("\n", "\\n"))
                return f"'{shortened(line)}'"
            return str(node.value).lower() if isinstance(node.value, bool) else str(node.value)


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as documents write it: `messages[0].role`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def without_quotes(described: str) -> str:
    return described.removeprefix("'").removesuffix("'")


def without_secrets(message: str, node: Node) -> str:
    """Return the message with every value that came from the environment shown as it is written in the document."""
    for leaf in leaves(node):
        if leaf.kind == "scalar" and leaf.shown is not None and isinstance(leaf.value, str):
            message = message.replace(repr(leaf.value), leaf.shown)
            if len(leaf.value) >= SHORTEST_WORD:
                message = message.replace(leaf.value, leaf.shown)
    return message


def number(value: float) -> str:
    """Return a number as people write it: whole ones whole, however large."""
    return str(int(value)) if value == value // 1 else f"{value:g}"


def expectation(error: ErrorDetails) -> str:
    """Return what pydantic expected."""
    bounds = {name: number(each) for name, each in error.get("ctx", {}).items() if isinstance(each, int | float)}
    if error["type"] == "too_short":
        return f"at least {bounds['min_length']} item{'s'[: bounds['min_length'] != '1']}"
    if (expected := EXPECTED.get(error["type"])) is not None:
        return expected.format(**bounds)
    return error["msg"].removeprefix("Input should be ").removeprefix("a valid ")


SHORT = {"healthcheck": "path", "on_error": "to", "do": "component", "autoscaling": "max", "webui": "port"}
"""Keys that take a mapping, each with what a bare value after it is probably meant to be."""


def as_mapping(node: Node, otherwise: str = "write `key: value` lines below it") -> str:
    """Return what to write where a mapping is expected: `type: echo` for `type:echo`, or for `type echo` on its line."""
    if node.path and node.kind == "list" and node.items and all(item.kind == "mapping" for item in node.items):
        return "write its keys without the `- `"
    key = node.path.rpartition(".")[2]
    if key in SHORT and node.kind == "scalar" and node.value is not None:
        return f"write `{key}: {{{SHORT[key]}: {without_quotes(describe(node))}}}`"
    if node.kind != "scalar" or node.shown is not None or not isinstance(node.value, str):
        return otherwise
    if meant := spaced(node.value):
        return f"write `{meant}`, with a space after the ':'"
    line = node.span.source.lines[node.span.line - 1]
    meant = spaced(node.value, UNSEPARATED) if line.strip(" -") == node.value else None
    return f"write `{meant}`, with a ':' after the key" if meant else otherwise


def example(kind: str, node: Node) -> str | None:
    """Return what to write, for the kinds of pydantic's errors where that is always the same."""
    if node.kind == "scalar" and node.value is None:
        return "write a value after the ':', or leave the key out"
    if kind == "string_type" and node.kind != "scalar":
        return "write it as text on one line"
    return {
        "too_short": "write one `- …` line for each",
        "list_type": "write `[…]`, or one `- …` line for each",
        "bool_type": "write true or false",
        "bool_parsing": "write true or false",
        "dict_type": as_mapping(node),
        "model_type": as_mapping(node),
        "string_type": "put it in quotes",
        "string_pattern_mismatch": "write it like 'my-component_1'",
    }.get(kind)
