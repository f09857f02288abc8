"""A command that serves HTTP is declared and checked here: how it starts, when it is ready, and the calls that go to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from deployments.upstream.fields import CallerConfig, CallInput, Patience, Written, check_headers
from graphs.component import Chunk, Component
from graphs.errors import ComponentFailed


def _command(value: Any) -> Any:
    """Take a command as a list of its words, or as one line for the shell."""
    if isinstance(value, str) and value.strip():
        return ["/bin/sh", "-c", value]
    if isinstance(value, list) and value:
        return cast("list[Any]", value)
    if value is None or isinstance(value, str | list | dict | int | float):
        raise ValueError("expected a command; write it on one line, or as a list: [vllm, serve, a-model]")
    return value


Command = Annotated[list[Written], BeforeValidator(_command, json_schema_input_type=str | list[str | float])]
Port = Annotated[int, Field(ge=0, le=65535)]


class Healthcheck(BaseModel):
    """When the server counts as ready, and as well."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    path: str = Field(default="/", description="Answers with a status below 400 when the server is well.")
    interval: Patience = Field(default=2.0, description="The pause between two checks.")
    timeout: Patience = Field(default=5.0, description="The longest wait for one answer.")
    max_wait: Patience = Field(default=600.0, description="The longest wait for the first good answer after a start.")


class HttpServerConfig(CallerConfig):
    start: Command = Field(description="The command that serves; `${port}` in it is the port it must listen on.")
    port: Port = Field(default=0, description="The port it listens on; 0 takes a free one for each replica.")
    healthcheck: Healthcheck = Field(default=Healthcheck(), description="When it counts as ready.")
    env: dict[str, Written] = Field(default={}, description="Added to the environment of its commands.")
    working_dir: str | None = Field(default=None, description="The folder its commands run in.")
    install: Command | None = Field(default=None, description="Run once before the first start.")
    build: Command | None = Field(default=None, description="Run after install, before every start of a replica.")
    clean: Command | None = Field(default=None, description="Run when the replica has stopped.")


class HttpServer(Component[HttpServerConfig, CallInput]):
    """Starts an HTTP server of its own in each replica, and calls it as `http-client` does."""

    type = "http-server"
    Config = HttpServerConfig
    Input = CallInput
    config_names = frozenset({"port"})
    runnable = False

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if action.get("path") is None:
            yield "path", "an http-server needs to know what to call; write `path: /…`"
        yield from check_headers(config, action)

    def run(self, input: CallInput) -> AsyncIterator[Chunk]:
        del input
        raise ComponentFailed(f"component {self.id!r}: the type 'http-server' can be checked, but not run yet")
