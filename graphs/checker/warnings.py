"""What compiles and is probably not what was meant: a document and its checked parts in, warnings out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from graphs.checker.bindings import span_in
from graphs.checker.components import CheckedComponent
from graphs.checker.workflows import CheckedWorkflow
from graphs.document import job_types
from graphs.language import LanguageError, bindings, parse
from graphs.source import MappingNode, Mistakes, Node, Scalar
from graphs.validation import describe, without_quotes

# --- text that looks like a binding and is none -------------------------------------------------------------------------

PATH = r"(?:env|input|jobs|output|result|response|item|run|session)\.[\w.-]+"
VARIABLE = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
LOOKALIKES = re.compile(
    rf"\{{\{{\s*(?P<moustache>{PATH})\s*\}}\}}"
    rf"|(?<![$\\{{\w])\{{(?P<braces>{PATH})\}}"
    rf"|(?<![$\\\w])\$(?P<dollar>{PATH})"
    rf"|(?<![$\\\w])\$(?P<variable>{VARIABLE})\b"
)
"""`{{ env.KEY }}`, `{input.x}`, `$input.x`, `$API_KEY`: how other tools write what is `${…}` here."""
LONE_VARIABLE = re.compile(r"(?:[A-Z]\w+ )?\$(?P<variable>[A-Z][A-Z0-9_]+)")
"""`$KEY` and `Bearer $KEY`: a word as short is a variable only where it is the whole value."""
IN_BRACES = re.compile(PATH)
PLAIN = re.compile(r"\$(?!\{)|(?<!\$)\{")
"""A `$` or a `{` that isn't part of `${`."""

NOT_TEXT = frozenset({"start", "install", "build", "clean", "runtime_env", "title", "description"})
"""Keys below which a `$KEY` is the shell's, or for people to read."""


def warn_of_lookalikes(node: Node, mistakes: Mistakes) -> None:
    """Warn of text that was probably meant as a binding; the node is the document's, before its bindings are read."""
    match node.kind:
        case "mapping":
            _warn_of_braces(node, mistakes)
            for entry in node.entries.values():
                if entry.key not in NOT_TEXT:
                    warn_of_lookalikes(entry.node, mistakes)
        case "list":
            for item in node.items:
                warn_of_lookalikes(item, mistakes)
        case "scalar" if isinstance(node.value, str):
            for start, end, meant in _lookalikes(node.value):
                message = f"'{node.value[start:end]}' is plain text, not a binding"
                mistakes.warn(span_in(node, (start, end)), message, f"write ${{{meant}}}", node.path)
        case _:
            pass


def _warn_of_braces(node: MappingNode, mistakes: Mistakes) -> None:
    """Warn of `{input.x}` without quotes: to YAML a mapping with one key."""
    only = next(iter(node.entries.values())) if len(node.entries) == 1 else None
    if only is None or not isinstance(only.node, Scalar) or only.node.value is not None:
        return
    if node.span.text.startswith("{") and IN_BRACES.fullmatch(only.key):
        message = f"{node.span.text} is a mapping with the key '{only.key}', not a binding"
        mistakes.warn(node, message, f"write ${{{only.key}}}")


def _lookalikes(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where a text looks like a binding outside of its bindings, and what was meant."""
    if PLAIN.search(text) is None:  # as in most texts; it spares them the parser
        return
    plain = _without_bindings(text)
    if lone := LONE_VARIABLE.fullmatch(plain):
        yield lone.start("variable") - 1, lone.end(), f"env.{lone['variable']}"
        return
    for found in LOOKALIKES.finditer(plain):
        meant = f"env.{found['variable']}" if found["variable"] else found[found.lastgroup or 0]
        yield found.start(), found.end(), meant


def _without_bindings(text: str) -> str:
    """Return a text with blanks in the place of its bindings; of one that doesn't parse, nothing."""
    try:
        found = list(bindings(parse(text)))
    except LanguageError:
        return ""
    for start, end in (binding.at for binding in found):
        text = text[:start] + " " * (end - start) + text[end:]
    return text


# --- parts that do nothing ----------------------------------------------------------------------------------------------


def warn_of_unused(
    components: Mapping[str, CheckedComponent], workflows: Mapping[str, CheckedWorkflow], mistakes: Mistakes
) -> None:
    """Warn of components that no job calls. Those that offer themselves as models are called by that."""
    drafts = [draft for workflow in workflows.values() for draft in workflow.drafts.values()]
    called = {draft.called.plan.id for draft in drafts if draft.called}
    for id, component in components.items():
        if id in called or component.offers:
            continue
        layout, asked = component.layout, component.layout.keys.get("resources")
        takes = ""
        if asked is not None and asked.kind == "mapping" and asked.entries:
            each = (f"{key} {without_quotes(describe(entry.node))}" for key, entry in asked.entries.items())
            takes = f", and each of its replicas takes {', '.join(each)}"
        hint = "call it in a job, or remove it" + (": it is started all the same" if component.cls.deployed else "")
        mistakes.warn(layout.node.get("id") or layout.node, f"no job calls component '{id}'{takes}", hint)


def warn_of_lost_results(workflow: CheckedWorkflow, mistakes: Mistakes) -> None:
    """Warn where a router can choose a job whose output isn't the result, as one that is skipped waits for it.

    Only what is the output of some job that always runs, or of the workflow's own `output`, can't be lost.
    """
    drafts, wires = workflow.drafts, workflow.wires
    if workflow.output is not None:
        return
    fed = {name for each in wires.values() for name in each.feeds_from}
    finals = [draft for id, draft in drafts.items() if id not in fed and isinstance(draft.spec, job_types.GivingJob)]
    if any(draft.node.get("condition") is None and not wires[draft.id].routed_by for draft in finals):
        return
    for final in finals:
        condition = final.node.get("condition")
        chosen = sorted(name for name in wires[final.id].feeds_from if wires[name].routed_by)
        if condition is not None and chosen:
            names = " and ".join(f"'{name}'" for name in chosen)
            message = f"when {names} ran and this is false, the workflow has no result"
            hint = f"write the workflow's `output`, as in ${{jobs.{final.id}.output | ${{jobs.{chosen[0]}.output}}}}"
            mistakes.warn(condition, message, hint)
