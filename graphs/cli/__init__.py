"""The command `anabranch`: check, plan, schema, serve. Arguments in, exit status out; heavy imports wait for their command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from graphs.errors import AnabranchError
from graphs.source import DocumentError

if TYPE_CHECKING:
    from graphs.plan import Plan
    from graphs.source import Diagnostic


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all is well, 1 for mistakes in documents, 2 for a wrong command line."""
    args = _parser().parse_args(argv)
    try:
        status = int(args.command(args))
        sys.stdout.flush()
    except AnabranchError as error:
        print(error.message, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anabranch", description="YAML components and workflows, as a Ray Serve graph."
    )
    parser.add_argument("--version", action="version", version=f"anabranch {version('anabranch')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="tell every mistake in a document")
    _documents(check)
    check.add_argument("--format", choices=("text", "json"), default="text")
    check.set_defaults(command=_check)

    plan = commands.add_parser("plan", help="show the graph of a document's workflows")
    _documents(plan)
    plan.add_argument("--format", choices=("text", "mermaid"), default="text")
    plan.set_defaults(command=_plan)

    schema = commands.add_parser("schema", help="print the JSON Schema of documents, for editors")
    schema.add_argument(
        "--format", choices=("json", "markdown"), default="json", help="markdown: tables of the component types' fields"
    )
    schema.set_defaults(command=_schema)

    serve = commands.add_parser("serve", help="serve a document on Ray Serve, with its fast flags set")
    _documents(serve)
    serve.add_argument("--host", help="address to listen on (default: the document's, else 127.0.0.1)")
    port = "port to listen on (default: the document's, else 8080; 0: any that is free)"
    serve.add_argument("--port", type=_port, help=port)
    serve.add_argument("--name", default="anabranch", help="name of the Serve application (default: anabranch)")
    serve.set_defaults(command=_serve)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, or 0 for any that is free, got {text!r}")
    return int(text)


def _documents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("documents", nargs="+", metavar="FILE", help="documents; several are merged in order")


def _load(paths: Sequence[str]) -> Plan:
    from deployments.components import registry
    from graphs.load import load

    return load(paths, registry())


def _check(args: argparse.Namespace) -> int:
    try:
        plan = _load(args.documents)
    except AnabranchError as error:
        _tell(error, as_json=args.format == "json")
        return 1
    if args.format == "json":
        print(json.dumps({"ok": True, "mistakes": []}))
    else:
        print(f"{', '.join(args.documents)}: {_counted(plan)}, no mistakes")
    return 0


def _tell(error: AnabranchError, *, as_json: bool) -> None:
    diagnostics = error.diagnostics if isinstance(error, DocumentError) else None
    if as_json:
        mistakes = _as_json(diagnostics) if diagnostics is not None else [_of_a_file(error)]
        print(json.dumps({"ok": False, "mistakes": mistakes}, ensure_ascii=False, indent=2))
        return
    print(error.message, file=sys.stderr)
    if diagnostics is not None:
        print(f"\n{len(diagnostics)} mistake{'s' if len(diagnostics) > 1 else ''}", file=sys.stderr)


def _counted(plan: Plan) -> str:
    components, workflows = len(plan.components), len(plan.workflows)
    return f"{components} component{'s'[: components != 1]}, {workflows} workflow{'s'[: workflows != 1]}"


def _as_json(diagnostics: Sequence[Diagnostic]) -> list[dict[str, object]]:
    return [
        {
            "file": each.span.source.name,
            "line": each.span.line,
            "column": each.span.column,
            "end_column": each.span.column + max(1, each.span.end - each.span.start),
            "path": each.path,
            "message": each.message,
            "hint": each.hint,
        }
        for each in diagnostics
    ]


def _of_a_file(error: AnabranchError) -> dict[str, object]:
    """Return a mistake that has no place: that of a file that can't be read."""
    nowhere = dict.fromkeys(("line", "column", "end_column"))
    return {"file": error.details.get("file"), **nowhere, "path": "", "message": error.message, "hint": None}


def _plan(args: argparse.Namespace) -> int:
    from graphs.export import drawing

    plan = _load(args.documents)
    print(drawing.mermaid(plan) if args.format == "mermaid" else drawing.text(plan))
    return 0


def _schema(args: argparse.Namespace) -> int:
    from deployments.components import registry

    if args.format == "markdown":
        from graphs.export.field_tables import markdown

        print(markdown(registry()))
        return 0
    from graphs.export.schema import document_schema

    print(json.dumps(document_schema(registry()), ensure_ascii=False, indent=2))
    return 0


def _serve(args: argparse.Namespace) -> int:
    from deployments.serve.command import serve

    return serve(args.documents, args.host, args.port, args.name)
