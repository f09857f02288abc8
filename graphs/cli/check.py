"""`anabranch check`: documents in; their mistakes and warnings out, as text or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphs.cli.documents import add_documents, plan_of
from graphs.errors import AnabranchError
from graphs.source import Diagnostic, DocumentError, Mistakes, in_order

if TYPE_CHECKING:
    from graphs.plan import Plan

NAME, HELP = "check", "report every mistake in a document"

Json = dict[str, object]


def arguments(parser: argparse.ArgumentParser) -> None:
    add_documents(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--strict", action="store_true", help="take warnings for mistakes")


def run(args: argparse.Namespace) -> int:
    """Return 0 for documents without mistakes, and with --strict without warnings; else 1."""
    plan, error, mistakes = None, None, Mistakes()
    try:
        plan = plan_of(args.documents, mistakes)
    except AnabranchError as raised:
        error = raised
    warnings = in_order(mistakes.warnings)
    well = error is None and not (args.strict and warnings)
    if args.format == "json":
        shown = {"ok": well, "mistakes": _mistakes(error), "warnings": [_as_json(each) for each in warnings]}
        print(json.dumps(shown, ensure_ascii=False, indent=2))
    else:
        _print(args.documents, plan if well else None, error, warnings)
    return 0 if well else 1


def _print(
    documents: Sequence[str], plan: Plan | None, error: AnabranchError | None, warnings: list[Diagnostic]
) -> None:
    for each in warnings:
        print(each.render(), file=sys.stderr)
    if error is not None:
        print(error.message, file=sys.stderr)
    found = error.diagnostics if isinstance(error, DocumentError) else []
    counts = [_counted(len(each), each[0].kind) for each in (found, warnings) if each]
    if plan is not None:
        parts = [_counted(len(plan.components), "component"), _counted(len(plan.workflows), "workflow")]
        print(f"{', '.join(documents)}: {', '.join([*parts, 'no mistakes', *counts])}")
    elif counts:
        print(f"\n{', '.join(counts)}", file=sys.stderr)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s'[: count != 1]}"


def _mistakes(error: AnabranchError | None) -> list[Json]:
    if error is None:
        return []
    return [_as_json(each) for each in error.diagnostics] if isinstance(error, DocumentError) else [_of_a_file(error)]


def _as_json(each: Diagnostic) -> Json:
    return {
        "file": each.span.source.name,
        "line": each.span.line,
        "column": each.span.column,
        "end_column": each.span.column + max(1, each.span.end - each.span.start),
        "path": each.path,
        "message": each.message,
        "hint": each.hint,
    }


def _of_a_file(error: AnabranchError) -> Json:
    """Return a mistake that has no place: that of a file that can't be read."""
    nowhere = dict.fromkeys(("line", "column", "end_column"))
    return {"file": error.details.get("file"), **nowhere, "path": "", "message": error.message, "hint": None}
