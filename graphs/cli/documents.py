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


def plan_of(paths: Sequence[str], mistakes: Mistakes | None = None) -> Plan:
    """Return the plan of documents; `mistakes` takes the warnings."""
    from deployments.components import registry
    from graphs.load import load

    return load(paths, registry(), mistakes=mistakes)


def port_number(text: str) -> int:
    """Return the port that a command line names."""
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, or 0 for any that is free, got {text!r}")
    return int(text)
