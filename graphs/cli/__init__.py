"""The command `anabranch`: arguments in, exit status out. Each subcommand is a file; heavy imports wait for theirs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from graphs.cli import check, dev, plan, runs, schema, serve
from graphs.errors import AnabranchError


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
    for each in (dev, serve, runs, check, plan, schema):
        added = commands.add_parser(each.NAME, help=each.HELP)
        each.arguments(added)
        added.set_defaults(command=each.run)
    return parser
