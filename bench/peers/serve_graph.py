"""The naive Serve graph: an ingress and one or two component deployments that hand every chunk on as an item of a handle."""

# No `from __future__ import annotations` here: FastAPI reads the annotations of routes inside a class.
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve
from ray.serve.handle import DeploymentHandle

from bench.peers.words import Request, event, words

OPTIONS = {"max_ongoing_requests": 1000, "ray_actor_options": {"num_cpus": 0.1}}

api = FastAPI()


@serve.deployment(**OPTIONS)
class Source:
    """The first component: makes the words."""

    async def run(self, request: Request) -> AsyncIterator[str]:
        async for chunk in words(request):
            yield chunk


@serve.deployment(**OPTIONS)
class Relay:
    """The second component: hands on what the first says."""

    def __init__(self, source: DeploymentHandle) -> None:
        self.source = source.options(stream=True)

    async def run(self, request: Request) -> AsyncIterator[str]:
        async for chunk in self.source.run.remote(request):
            yield chunk


@serve.deployment(**OPTIONS)
@serve.ingress(api)
class Ingress:
    """Streams what the last component says."""

    def __init__(self, component: DeploymentHandle) -> None:
        self.component = component.options(stream=True)

    @api.get("/ready")
    async def ready(self) -> dict[str, bool]:
        return {"ready": True}

    @api.post("/")
    async def run(self, request: Request) -> StreamingResponse:
        return StreamingResponse(self._events(request), media_type="text/event-stream")

    async def _events(self, request: Request) -> AsyncIterator[bytes]:
        async for chunk in self.component.run.remote(request):
            yield event(chunk)


one = Ingress.bind(Source.bind())
two = Ingress.bind(Relay.bind(Source.bind()))
