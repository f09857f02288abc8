"""`anabranch plan`: documents in, a drawing of their workflows and of where their components run out."""

from __future__ import annotations

import argparse

from graphs.cli.documents import add_documents, plan_of

NAME, HELP = "plan", "show the graph of a document's workflows, and where its components run"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_documents(parser)
    parser.add_argument("--format", choices=("text", "mermaid"), default="text")


def run(args: argparse.Namespace) -> int:
    from graphs.export import drawing

    plan = plan_of(args.documents)
    print(drawing.mermaid(plan) if args.format == "mermaid" else drawing.text(plan))
    return 0
