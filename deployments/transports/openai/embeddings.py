"""`POST /v1/embeddings`: the vectors of one text or several."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.asgi.client import Client
from deployments.asgi.errors import answer_of
from deployments.asgi.json_values import json_bytes, parse_object
from deployments.asgi.straight import StraightRoute
from deployments.conversations.models import asked
from deployments.conversations.parameters import decoded, request_body
from deployments.conversations.reading import noted_usage
from deployments.conversations.request import Conversation, for_workflows
from deployments.gateway.gateway import Gateway, Running
from deployments.transports.begun import begun
from deployments.transports.openai import descriptions
from deployments.transports.openai.errors import RUN_HEADERS
from deployments.transports.openai.parameters import EmbeddingBody
from graphs.errors import AnabranchError, ComponentFailed, InvalidInput
from graphs.language import kind_of
from graphs.stream import Value

SILENT = 3600.0
"""Seconds between looks at an answer that has no heartbeats."""
Vector = Sequence[float]


def decode(said: Mapping[str, Any]) -> tuple[EmbeddingBody, Conversation]:
    """Return the request, and what it asks of a model."""
    body = decoded(EmbeddingBody, said)
    fields, extra = for_workflows(said, own=None)
    conversation = Conversation(
        use="embedding", model=body.model, texts=body.input, fields=fields, extra=extra, body=EmbeddingBody
    )
    return body, conversation


class VectorsAnswer(Response):
    """The answer of a run whose output is vectors. When the client disconnects, the run is left to what it was told then."""

    def __init__(self, running: Running, model: str, body: EmbeddingBody) -> None:
        self.status_code = 200
        self.background = None
        self._running, self._model, self._body = running, model, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = Client(scope, receive, send)
        await client.attend(self._write(scope, client), SILENT)

    async def _write(self, scope: Scope, client: Client) -> None:
        run_id = self._running.run.id
        try:
            async with aclosing(self._running):
                finished = await self._running.finish()
            body = json_bytes(self._whole(finished.output, noted_usage(finished.notes)))
        except AnabranchError as error:
            told = error.saying(error.message, {**error.details, "field": "input"}) if _is_of_text(error) else error
            await client.answer(answer_of(scope, told, run_id))
        else:
            await client.answer(
                Response(body, headers=dict.fromkeys(RUN_HEADERS, run_id), media_type="application/json")
            )

    def _whole(self, output: Value, usage: Mapping[str, Any] | None) -> Value:
        encode = _base64 if self._body.encoding_format == "base64" else list[float]
        vectors = enumerate(self._vectors(output))
        data = [{"object": "embedding", "index": index, "embedding": encode(each)} for index, each in vectors]
        said: dict[str, Value] = {"object": "list", "data": data, "model": self._model}
        return said if usage is None else {**said, "usage": _usage(usage)}

    def _vectors(self, output: Value) -> list[Vector]:
        """Return a vector for each text; raise ComponentFailed where the output doesn't have them."""
        vectors = vectors_in(output)
        if vectors is None:
            write = "have the workflow's `output` give one or the other"
            raise ComponentFailed(
                f"'{self._model}' gave no vector and no list of vectors, but {kind_of(output)}; {write}"
            )
        texts = self._body.input
        count = len(texts) if isinstance(texts, list) else 1
        if len(vectors) != count:
            raise ComponentFailed(
                f"'{self._model}' gave {len(vectors)} vectors for {count} texts, and owes one for each"
            )
        asked = self._body.dimensions
        if asked is not None and any(len(each) != asked for each in vectors):
            raise InvalidInput(
                f"dimensions: the vectors of '{self._model}' have {len(vectors[0])} numbers, not {asked}; leave it out",
                field="dimensions",
                code="unsupported_parameter",
            )
        return vectors


def _is_of_text(error: AnabranchError) -> bool:
    """Return whether an error is about the texts, by the name that model components have for them."""
    return error.details.get("field") == "text" and "workflow" not in error.details


def vectors_in(output: Value) -> list[Vector] | None:
    """Return the vectors that an output is or holds: one, a list, `{embeddings: …}`, or an answer of this very API."""
    match output:
        case {"embeddings": inner} | {"embedding": inner}:
            return vectors_in(inner)
        case {"data": [{"embedding": _}, *_] as data}:
            return vectors_in([each.get("embedding") for each in cast("list[Any]", data)])
        case [[*_], *_] if all(map(_is_vector, output)):
            return cast("list[Vector]", output)
        case [int() | float(), *_] if _is_vector(output):
            return [cast("Vector", output)]
        case _:
            return None


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) in (float, int) for each in cast("list[Any]", value))


def _base64(vector: Vector) -> str:
    """Return the numbers as 32-bit floats, little-endian."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
    except OverflowError:
        raise ComponentFailed("a number of a vector is too large for 32 bits; ask for encoding_format float") from None


def _usage(usage: Mapping[str, Any]) -> Value:
    read = usage.get("prompt_tokens", usage.get("total_tokens", 0))
    return {"prompt_tokens": read, "total_tokens": usage.get("total_tokens", read)}


def routes(gateway: Gateway) -> APIRouter:
    """Return the route of embeddings."""
    router = APIRouter(prefix="/v1", tags=["openai"])

    async def embed(request: Request) -> Response:
        body, conversation = decode(parse_object(await request.body()))
        run = asked(gateway.plan, conversation)
        choice = await begun(gateway, run, conversation)
        return VectorsAnswer(choice.running, run.name, body)

    router.add_api_route(
        "/embeddings", embed, methods=["POST"], summary="Give the vectors of texts", response_class=Response,
        responses=descriptions.answers(descriptions.EMBEDDINGS), openapi_extra=request_body(EmbeddingBody),
        route_class_override=StraightRoute,
    )  # fmt: skip
    return router
