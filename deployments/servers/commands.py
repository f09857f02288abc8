"""Make a command of what a document writes: `${port}` filled in, with the replica's environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from deployments.servers.config import HttpServerConfig
from deployments.upstream.request import Scalar, spell
from graphs.language import LanguageError, Scope, evaluate, parse, references

PORT = "port"


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, in which environment, and where."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    folder: str | None = None


def command(config: HttpServerConfig, words: Iterable[str], port: int) -> Command:
    """Return a command with the environment of its replica, GPUs included, and what the document adds."""
    # Unbuffered: the last lines of a server that died would be missing in the log.
    env = {"PYTHONUNBUFFERED": "1", **os.environ}
    env |= {name: fill(value, port) for name, value in config.env.items()}
    folder = None if config.working_dir is None else str(Path(fill(config.working_dir, port)).expanduser())
    return Command(tuple(fill(word, port) for word in words), env, folder)


def tells_port(config: HttpServerConfig) -> bool:
    """Return whether the document passes the port on to the server, so that any port will do."""
    texts = [*config.start, *config.env.values()]
    return any(fill(text, 1) != fill(text, 2) for text in texts)


def fill(text: str, port: int) -> str:
    """Return text with its `${port}` filled in; any other `${…}` is the shell's, for the document wrote it as `\\${…}`."""
    if "${" not in text:
        return text
    try:
        template = parse(text)
    except LanguageError:
        return text
    if any(reference.name != PORT for reference in references(template)):
        return text
    return spell(cast("Scalar", evaluate(template, Scope({PORT: port}))))
