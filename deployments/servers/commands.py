"""The fields of a server that a component starts itself, as documents write them, and the commands made of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field

from deployments.upstream.bodies import Scalar, spell
from deployments.upstream.call_fields import CallerConfig, Written
from graphs.component import ComponentConfig, LocalFolder
from graphs.language import LanguageError, Scope, evaluate, parse, references
from graphs.units import Duration, Timeout

PORT = "port"
STOP_TIMEOUT = 10.0
CLEAN_LIMIT = 10.0
"""The longest that clean may take: Serve waits for the replica to stop."""


def _command(value: Any) -> Any:
    """Take a command as a list of its words, or as text for the shell, each line of which must succeed."""
    if isinstance(value, str) and value.strip():
        return ["/bin/sh", "-ec", value]
    if isinstance(value, list) and value:
        return cast("list[Any]", value)
    if value is None or isinstance(value, str | list | dict | int | float):
        raise ValueError("expected a command; write it on one line, or as a list: [vllm, serve, a-model]")
    return value


CommandLine = Annotated[list[Written], BeforeValidator(_command, json_schema_input_type=str | list[str | float])]


class Healthcheck(ComponentConfig):
    """When the server counts as ready, and as healthy."""

    path: str | None = Field(
        default=None,
        description="Answers with a status below 400 when the server is healthy; unset, `/` must answer with one below 500.",
    )
    interval: Timeout = Field(default=2.0, description="The pause between two checks; shorter ones at first.")
    timeout: Timeout = Field(default=5.0, description="The longest wait for one answer.")
    max_wait: Timeout = Field(default=600.0, description="The longest wait for the first such answer after a start.")


class HttpServerConfig(CallerConfig):
    start: CommandLine = Field(
        description="The command that serves, in the foreground; `${port}` in it is the port it must listen on."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=0,
        description="The port it listens on; 0 takes a free one, as does a taken one if `start` or `env` has `${port}`.",
    )
    healthcheck: Healthcheck = Field(default=Healthcheck(), description="When it counts as ready.")
    env: dict[str, Written] = Field(default={}, description="Added to the environment of its commands.")
    working_dir: Annotated[str | None, LocalFolder()] = Field(
        default=None, description="The folder its commands run in; a relative one begins beside the document."
    )
    install: CommandLine | None = Field(
        default=None, description="Run before the first start on a machine, and again when it is changed."
    )
    build: CommandLine | None = Field(default=None, description="Run after install, before every start of a replica.")
    clean: CommandLine | None = Field(default=None, description="Run when the replica has stopped.")
    stop_timeout: Duration = Field(
        default=STOP_TIMEOUT, description="How long it may take to stop before it is killed."
    )


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
