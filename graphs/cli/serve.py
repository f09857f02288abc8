"""`anabranch serve`: hands its arguments over to the command that serves."""

from __future__ import annotations

import argparse

from graphs.cli.documents import add_address, add_documents

NAME, HELP = "serve", "serve a document on Ray Serve, with its fast flags set"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_documents(parser)
    add_address(parser)
    dashboard = "start Ray with its dashboard, metrics and `serve status`: for 400 MiB and 5 s more (default: without)"
    parser.add_argument("--dashboard", action="store_true", help=dashboard)
    parser.add_argument("--name", default="anabranch", help="name of the Serve application (default: anabranch)")


def run(args: argparse.Namespace) -> int:
    from deployments.serve.command import serve

    return serve(args.documents, args.host, args.port, args.name, args.dashboard)
