"""Values of a job that are written out and that no run could use: conditions, delays, lists of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphs.checker import bindings
from graphs.checker.routes import listed, node_at
from graphs.document import job_types
from graphs.language.nodes import Text
from graphs.source import MappingNode, Mistakes, Node
from graphs.units import duration, moment, zone
from graphs.validation import describe, to_data, without_secrets

SWITCHES = ("", "true", "false", "yes", "no", "on", "off", "0", "1")
"""Texts that a condition may be: they read as true or false."""

DELAYS: Mapping[str, Callable[[Any], object]] = {"duration": duration, "time": moment, "timezone": zone}
"""How a delay's values are read."""


def report_fixed_conditions(node: MappingNode, mistakes: Mistakes) -> None:
    """Report conditions that are text with no binding for their whole: they would always be true."""
    for condition in (node.get("condition"), *(node_at(each, "condition") for each in listed(node, "conditions"))):
        if condition is None:
            continue
        template = bindings.to_template(condition)
        if isinstance(template, Text) and any(isinstance(part, str) and part.strip() for part in template.parts):
            message = "this condition is always true: it is text with a binding in it"
            hint = "put the comparison inside the binding: ${input.name == 'value'}"
            mistakes.add(condition, message, hint)
        elif condition.kind == "scalar" and isinstance(condition.value, str) and condition.value not in SWITCHES:
            message, hint = "this condition is plain text, which is always true", "write it as a binding: ${…}"
            mistakes.add(condition, message, hint)


def report_misfits(node: MappingNode, spec: job_types.JobBase, mistakes: Mistakes) -> None:
    """Report a delay that is no duration or time, and items that are no list."""
    match spec:
        case job_types.DelayJob():
            for key, read in DELAYS.items():
                if key in spec.model_fields_set:
                    _report_unreadable(node.entries[key].node, read, mistakes)
        case job_types.ForEachJob():
            _report_no_list(node.entries["input"].node, mistakes)
        case _:
            pass


def _report_unreadable(node: Node, read: Callable[[Any], object], mistakes: Mistakes) -> None:
    value = to_data(node)
    try:
        if node.kind != "bound" and value is not None:
            read(value)
    except ValueError as error:
        said, _, hint = without_secrets(str(error), node).rpartition("; ")
        mistakes.add(node, said, hint)


def _report_no_list(node: Node, mistakes: Mistakes) -> None:
    if node.kind == "bound" and isinstance(node.template, Text):
        hint = "make the binding the whole of it, as in `input: ${input.items}`"
        mistakes.add(node, "expected a list of items, got text with a binding in it", hint)
    elif node.kind in ("scalar", "mapping"):
        hint = "write `[…]`, or one `- …` line for each"
        mistakes.add(node, f"expected a list of items, got {describe(node)}", hint)
