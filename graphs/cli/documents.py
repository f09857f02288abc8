"""The documents that a command line names: the argument, and the plan that they make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphs.plan import Plan
    from graphs.source import Mistakes


def add_documents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("documents", nargs="+", metavar="FILE", help="documents; several are merged in order")


def add_address(parser: argparse.ArgumentParser) -> None:
    """Let the command line say where to listen."""
    parser.add_argument("--host", help="address to listen on (default: the document's, else 127.0.0.1)")
    port = "port to listen on (default: the document's, else 8080; 0: any that is free)"
    parser.add_argument("--port", type=_port_number, help=port)


def plan_of(paths: Sequence[str], mistakes: Mistakes | None = None) -> Plan:
    """Return the plan of documents; `mistakes` takes the warnings."""
    from deployments.components import registry
    from graphs.load import load

    return load(paths, registry(), mistakes=mistakes)


def _port_number(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, or 0 for any that is free, got {text!r}")
    return int(text)
