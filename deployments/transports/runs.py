"""`POST /workflows/runs`: run a workflow, and answer its output, its task, or its stream as server-sent events."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.asgi.client import Client, Cut
from deployments.asgi.errors import RUN_ID, described, error_json, error_response
from deployments.asgi.json_values import json_bytes, parse_object, validated
from deployments.asgi.straight import StraightRoute
from deployments.gateway.gateway import Gateway, Running
from deployments.runs.events import Delta, Finished, raise_failure
from deployments.transports import sse
from graphs.errors import AnabranchError, InvalidInput

HEARTBEAT_EVERY = 15.0
"""Seconds of silence after which a stream sends a heartbeat."""


class RunRequest(BaseModel):
    """A run to start."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workflow_id: str | None = Field(default=None, description="the workflow; without it, the default or only one")
    input: Any = Field(default_factory=dict, description="what the workflow sees as `input`")
    wait_for_completion: bool = Field(default=True, description="answer when the run has ended, or while it streams")
    output_only: bool = Field(
        default=False, description="answer the output alone, as a stream if it streams; else the task that contains it"
    )
    resumable: bool = Field(default=False, description="keep the stream, so that it can be read again")
    session_id: str | None = Field(default=None, max_length=256, description="what the workflow sees as `session.id`")


class Task(BaseModel):
    """A run, seen from outside."""

    task_id: str
    workflow_id: str
    status: str = Field(examples=["completed"])
    output: Any = Field(description="the chunks of a stream are joined; several streams are a mapping")
    session_id: str | None = None
    created_at: str = Field(examples=["2030-01-01T12:00:00.000Z"])
    completed_at: str


def decode(body: bytes) -> RunRequest:
    """Return the request in a body."""
    request = validated(RunRequest, parse_object(body))
    if not request.wait_for_completion:
        raise InvalidInput(
            "this version can't run a task in the background yet; write wait_for_completion: true",
            field="wait_for_completion",
        )
    if request.resumable:
        raise InvalidInput("this version can't resume a stream yet; write resumable: false", field="resumable")
    return request


def encode_task(running: Running, output: Any, completed_at: datetime) -> bytes:
    """Return the task of a run that succeeded."""
    run = running.run
    task = {
        "task_id": run.id,
        "workflow_id": run.workflow,
        "status": "completed",
        "output": output,
        "created_at": _moment(datetime.fromtimestamp(run.started_at, UTC)),
        "completed_at": _moment(completed_at),
    }
    session = run.context.session_id
    return json_bytes(task if session is None else {**task, "session_id": session})


_DESCRIPTION = """
With `output_only: true` a result that streams is answered while it comes, as server-sent events: `data:` events with the
chunks, then `event: end`; or after the first chunk `event: error` with the error as JSON. A stream with neither was cut.
A stream of bytes is answered as it is, if the workflow names no format. A plain result is answered as bare JSON.

With `output_only: false` the answer comes when the run has ended: a task with its output, a stream's chunks joined.

Disconnecting cancels the run.
"""

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the task, the output, or the stream",
        "headers": {RUN_ID: {"description": "the run's id, on errors too", "schema": {"type": "string"}}},
        "content": {
            "application/json": {"schema": {"anyOf": [Task.model_json_schema(), {"title": "Output"}]}},
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": "data: Once\n\ndata:  upon\n\nevent: end\ndata:\n\n",
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    **described(
        {
            400: "the body is not JSON, or names no workflow although there are several",
            403: "the request comes from a web page whose origin isn't allowed",
            404: "there is no such workflow",
            413: "the body is too large, or a stream that had to be joined",
            415: "the body is compressed",
            422: "a field of the request, or of the workflow's input, is wrong",
            502: "a component failed, or an API that it called",
            503: "a component isn't available, or the queue is full: try again after Retry-After",
            504: "a job, the run or an API took longer than its timeout, or a polled job not done within completion.timeout",
        }
    ),
}
_BODY = {"required": True, "content": {"application/json": {"schema": RunRequest.model_json_schema()}}}


def routes(gateway: Gateway, heartbeat_every: float = HEARTBEAT_EVERY) -> APIRouter:
    """Return the route that starts runs."""
    router = APIRouter(tags=["runs"])

    async def start_run(request: Request) -> Response:
        asked = decode(await request.body())
        running = gateway.start(asked.workflow_id, asked.input, asked.session_id)
        return RunAnswer(running, asked.output_only, gateway.plan.controller.compression, heartbeat_every)

    router.add_api_route(
        "/workflows/runs",
        start_run,
        methods=["POST"],
        summary="Run a workflow",
        description=_DESCRIPTION,
        response_class=Response,
        responses=_RESPONSES,
        openapi_extra={"requestBody": _BODY},
        route_class_override=StraightRoute,
    )
    return router


class RunAnswer(Response):
    """The answer of one run, written while its events come; when the client disconnects, the run is cancelled."""

    def __init__(self, running: Running, output_only: bool, compression: bool, heartbeat_every: float) -> None:
        self.status_code = 200
        self.background = None
        self._running = running
        self._output_only = output_only
        self._compression = compression
        self._heartbeat_every = heartbeat_every
        self._encoder: sse.Encoder | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._client = Client(scope, receive, send)
        await self._client.attend(self._write(), self._heartbeat_every)

    async def _write(self) -> None:
        try:
            async with aclosing(self._running):
                if self._output_only:
                    await self._write_output()
                else:
                    finished = await self._running.finish()
                    await self._write_json(encode_task(self._running, finished.output, datetime.now(UTC)))
        except AnabranchError as error:
            await self._write_failure(error)

    async def _write_output(self) -> None:
        """Write the output while it comes. Nothing is sent before the first event that has content: it decides the format."""
        kind = self._running.workflow.output_kind
        async for event in self._running:
            if isinstance(event, Delta):
                encoder = self._encoder
                if encoder is None:
                    encoder = self._encoder = sse.encoder(kind, event)
                if encoder is not None and (body := encoder.encode(event)):
                    if not self._client.started:
                        await self._start(encoder)
                    await self._client.write(body)
                continue
            raise_failure(event)
            if isinstance(event, Finished):
                await self._finish(event)

    async def _write_failure(self, error: AnabranchError) -> None:
        """Write the error: as the answer, or as the last event of an answer that has begun."""
        run_id = self._running.run.id
        if not self._client.started:
            await self._client.answer(error_response(error, run_id))
        elif isinstance(self._encoder, sse.RawBytes):
            raise Cut(f"run {run_id}: {error.message}") from error
        else:
            await self._client.end(sse.error_event(error_json(error, run_id)))

    async def _finish(self, finished: Finished) -> None:
        if not finished.streamed:
            await self._write_json(json_bytes(finished.output))
            return
        encoder = self._encoder or sse.TextEvents()
        if not self._client.started:
            await self._start(encoder)
        await self._client.end(encoder.end())

    async def _start(self, encoder: sse.Encoder) -> None:
        run_id = (RUN_ID.lower().encode(), self._running.run.id.encode())
        if isinstance(encoder, sse.RawBytes):
            await self._client.start(200, [*sse.RAW_HEADERS, run_id])
        else:
            headers = [*sse.HEADERS, run_id]
            await self._client.start(200, headers, heartbeat=sse.HEARTBEAT, compressed=self._compression)

    async def _write_json(self, body: bytes) -> None:
        headers = {RUN_ID: self._running.run.id}
        await self._client.answer(Response(body, headers=headers, media_type="application/json"))


def _moment(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
