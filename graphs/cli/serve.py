"""`anabranch serve`: hands its arguments over to the command that serves."""

from __future__ import annotations

import argparse

from graphs.cli.documents import add_documents

NAME, HELP = "serve", "serve a document on Ray Serve, with its fast flags set"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_documents(parser)
    parser.add_argument("--host", help="address to listen on (default: the document's, else 127.0.0.1)")
    port = "port to listen on (default: the document's, else 8080; 0: any that is free)"
    parser.add_argument("--port", type=_port, help=port)
    parser.add_argument("--name", default="anabranch", help="name of the Serve application (default: anabranch)")


def run(args: argparse.Namespace) -> int:
    from deployments.serve.command import serve

    return serve(args.documents, args.host, args.port, args.name)


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, or 0 for any that is free, got {text!r}")
    return int(text)
