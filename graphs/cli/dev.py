"""`anabranch dev`: hands its arguments over to the command that serves in one process."""

from __future__ import annotations

import argparse
import time

from graphs.cli.documents import add_address, add_documents

NAME, HELP = "dev", "serve a document in one process, without Ray, and load it again when it changes"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_documents(parser)
    add_address(parser)
    parser.add_argument("--open", action="store_true", help="open the reference in a browser once it is served")


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    from deployments.dev.command import develop

    develop(args.documents, args.host, args.port, open_page=args.open, began=began)
