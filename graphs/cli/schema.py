"""`anabranch schema`: the JSON Schema of documents, or tables of the component types' fields."""

from __future__ import annotations

import argparse
import json

NAME, HELP = "schema", "print the JSON Schema of documents, for editors"


def arguments(parser: argparse.ArgumentParser) -> None:
    note = "markdown: tables of the component types' fields"
    parser.add_argument("--format", choices=("json", "markdown"), default="json", help=note)


def run(args: argparse.Namespace) -> int:
    from deployments.components import registry

    if args.format == "markdown":
        from graphs.export.field_tables import markdown

        print(markdown(registry()))
        return 0
    from graphs.export.schema import document_schema

    print(json.dumps(document_schema(registry()), ensure_ascii=False, indent=2))
    return 0
