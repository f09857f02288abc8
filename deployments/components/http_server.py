"""Start a command that serves HTTP with each replica, and call it as an http-client calls an API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pydantic import Field, TypeAdapter

from deployments.servers.commands import CLEAN_LIMIT, STOP_TIMEOUT, HttpServerConfig, fill
from deployments.servers.output import Output
from deployments.upstream.call_fields import CallInput, Polling, check_call, completion_mistakes, requests_for
from deployments.upstream.request import Request, join_url
from deployments.upstream.upstreams import Target
from graphs.component import Chunk, Component, Later, Setup, Unknown, Waiting, Whole
from graphs.errors import AnabranchError, InvalidInput, TimedOut, Unavailable, UpstreamFailed
from graphs.stream import Value
from graphs.units import Duration

if TYPE_CHECKING:
    from deployments.servers.exchange import Call, ServerExchange
    from deployments.servers.server import Server
    from deployments.upstream.exchange import Fetched


class HttpServerInput(CallInput):
    completion: Later[Polling | None] = Field(
        default=None, description="For calls that only start a job: how to learn that it is done."
    )


class HttpServer(Component[HttpServerConfig, HttpServerInput]):
    """Starts an HTTP server of its own in each replica, and calls it as `http-client` does.

    The replica is ready when its server is. A server that dies is restarted; calls wait for it meanwhile, for `timeout`, and
    the replica counts as unhealthy. When the replica stops, its server stops, and all that it has started.
    """

    type = "http-server"
    Config = HttpServerConfig
    Input = HttpServerInput
    config_names = frozenset({"port"})
    exclusive = frozenset({"port"})

    def __init__(self, config: HttpServerConfig, setup: Setup) -> None:
        super().__init__(config, setup)
        self._output = Output(self.id, setup.hide)
        self._server: Server | None = None
        self._exchange: ServerExchange | None = None

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if action.get("path") is None:
            yield "path", "an http-server needs to know what to call; write `path: /…`"
        # The only binding that may stand there is `${port}`.
        if not config.get("port") and not any(Unknown.within(config.get(name)) for name in ("start", "env")):
            hint = "write ${port} where `start` names it, or `port:` with the one it takes"
            yield "port" if "port" in config else "start", f"the command does not get the port to listen on; {hint}"
        yield from check_call(config, action)
        yield from completion_mistakes(action, has_base=True)

    @classmethod
    def closing_time(cls, config: Mapping[str, Any]) -> float:
        stop_timeout = TypeAdapter(Duration).validate_python(config.get("stop_timeout", STOP_TIMEOUT))
        return stop_timeout + (0.0 if config.get("clean") is None else CLEAN_LIMIT)

    async def setup(self) -> None:
        # aiohttp, which these import, waits for the replica.
        from deployments.servers.exchange import ServerExchange
        from deployments.servers.scripts import prepare
        from deployments.servers.server import Server

        await prepare(self.config, self._output)
        self._server = Server(self.id, self.config, self._output)
        await self._server.start()
        self._exchange = ServerExchange(self.id, self.config, self._server)

    async def run(self, input: HttpServerInput) -> AsyncIterator[Chunk]:
        async with aclosing(self.batches(input)) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def batches(self, input: HttpServerInput) -> AsyncGenerator[list[Chunk]]:
        assert self._exchange is not None
        call = await self._exchange.call()
        request = await self._request(call, input.path, input)
        try:
            if input.completion is not None:
                yield [Whole(await self._result_of_job(call, request, input.completion))]
                return
            answer = self._exchange.answer([Target(request)], input.answer_format())
            async with aclosing(answer) as batches:
                async for batch in batches:
                    yield batch
        except (UpstreamFailed, TimedOut) as error:
            raise await self._explained(error, call) from None

    async def close(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()
        if self._server is not None:
            await self._server.stop()
        from deployments.servers.scripts import clean

        await clean(self.config, self._output)

    async def healthy(self) -> None:
        assert self._server is not None
        await self._server.check()

    async def _result_of_job(self, call: Call, request: Request, written: Polling | Waiting[Polling | None]) -> Value:
        from deployments.upstream.polling import result_of_job

        assert self._exchange is not None

        async def target_of(completion: Polling, _: Fetched) -> Target:
            return Target(await self._request(call, completion.path, completion))

        return await result_of_job(self._exchange, [Target(request)], written, target_of, self.id)

    async def _request(self, call: Call, path: str | None, asked: CallInput | Polling) -> Request:
        if path is None:
            raise InvalidInput("expected a path to call, got null", field="path")
        own = {name: value and fill(value, call.up.port) for name, value in self.config.headers.items()}
        (request,) = await requests_for([(join_url(call.url, path), own)], asked)
        return call.request(request)

    async def _explained(self, error: AnabranchError, call: Call) -> AnabranchError:
        """Return the error of a failed call; if the server has died, that is the error."""
        assert self._server is not None
        upstream = error.details.get("upstream")
        if isinstance(upstream, Mapping) and "body" in upstream:
            return error  # it answered, so it is alive
        trouble = await self._server.gone(call.up)
        return error if trouble is None else Unavailable(f"{error.message}: its server {trouble}")
