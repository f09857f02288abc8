"""Commands and settings as documents write them, and a port -> what is run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from deployments.servers.fields import HttpServerConfig
from deployments.servers.filling import fill
from deployments.servers.process import Command


def command(config: HttpServerConfig, words: Iterable[str], port: int) -> Command:
    """Return a command with the environment of its replica, GPUs included, and what the document adds."""
    # Output that waits in a buffer would be missing when it is needed: in the log of a server that has died.
    env = {"PYTHONUNBUFFERED": "1", **os.environ}
    env |= {name: fill(value, port) for name, value in config.env.items()}
    folder = None if config.working_dir is None else str(Path(fill(config.working_dir, port)).expanduser())
    return Command(tuple(fill(word, port) for word in words), env, folder)


def tells_port(config: HttpServerConfig) -> bool:
    """Tell whether the server learns its port from us, so that it may be any."""
    texts = [*config.start, *config.env.values()]
    return any(fill(text, 1) != fill(text, 2) for text in texts)
