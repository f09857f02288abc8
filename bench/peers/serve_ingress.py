"""The floor with Ray Serve: one FastAPI ingress deployment that makes the stream itself; no hop."""

# No `from __future__ import annotations` here: FastAPI reads the annotations of routes inside a class.
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve

from bench.peers.words import Request, event, words

api = FastAPI()


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(api)
class Ingress:
    """Streams words."""

    @api.get("/ready")
    async def ready(self) -> dict[str, bool]:
        return {"ready": True}

    @api.post("/")
    async def run(self, request: Request) -> StreamingResponse:
        return StreamingResponse(self._events(request), media_type="text/event-stream")

    async def _events(self, request: Request) -> AsyncIterator[bytes]:
        async for chunk in words(request):
            yield event(chunk)


app = Ingress.bind()
