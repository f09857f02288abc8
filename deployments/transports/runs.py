"""`POST /workflows/runs`: run a workflow, and answer its output, its task, or its stream as server-sent events."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from deployments.asgi.errors import RUN_ID, described
from deployments.asgi.json_values import json_bytes, parse_object, validated
from deployments.asgi.straight import StraightRoute
from deployments.gateway.gateway import Gateway, Running
from deployments.gateway.keeper import OnDisconnect
from deployments.gateway.kept import Keep
from deployments.sessions.sessions import LONGEST_ID, Sessions
from deployments.store.rows import OnBusy
from deployments.transports.leaving import Leaving
from deployments.transports.run_answer import HEARTBEAT_EVERY, RunAnswer
from deployments.transports.task_json import Task, task
from graphs.errors import BadRequest, InvalidInput

DETACHED_FOR = 60.0
"""Seconds without a reader after which a resumable run is cancelled, unless it says otherwise."""
LONGEST_KEY = 255


class RunRequest(BaseModel):
    """A run to start."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workflow_id: str | None = Field(default=None, description="the workflow; without it, the default or only one")
    input: Any = Field(default_factory=dict, description="what the workflow sees as `input`")
    wait_for_completion: bool = Field(default=True, description="answer when the run has ended, or while it streams")
    output_only: bool = Field(
        default=False, description="answer the output alone, as a stream if it streams; else the task that contains it"
    )
    resumable: bool = Field(
        default=False, description="keep what the run says, and number its events, so that a reader can come back"
    )
    on_disconnect: Leaving = None
    job_chunks: bool = Field(default=False, description="keep the chunks of every job too, for /tasks/{id}/events")
    session_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_ID,
        description="what the workflow sees as `session.id`: the run is the session's next turn",
    )
    on_busy: OnBusy | None = Field(
        default=None,
        description="what becomes of a run whose session is answering another: `enqueue` waits for that, `reject` answers 409, "
        "`interrupt` stops the other",
    )


class Asked(NamedTuple):
    """A run that is asked for, and how it is kept; None if it isn't."""

    request: RunRequest
    keep: Keep | None


def decode(body: bytes, key: str | None = None, record: bool = False) -> Asked:
    """Return what a body asks for; `key` is the Idempotency-Key, and `record` says that all runs are kept."""
    fields = parse_object(body)
    request = validated(RunRequest, fields)
    check_key(key)
    if request.on_busy is not None and request.session_id is None:
        raise InvalidInput("on_busy is for runs of a session; write a session_id beside it", field="on_busy")
    asked = request.resumable or not request.wait_for_completion or request.session_id is not None or key is not None
    if not (asked or record):
        for field, given in (("on_disconnect", request.on_disconnect is not None), ("job_chunks", request.job_chunks)):
            if given:
                raise InvalidInput(
                    f"{field} is for runs that are kept; write resumable: true or wait_for_completion: false beside it",
                    field=field,
                )
        return Asked(request, None)
    digest = "" if key is None else hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return Asked(request, Keep(_on_disconnect(request, key), key, digest, request.job_chunks, asked))


def check_key(key: str | None) -> None:
    """Refuse an Idempotency-Key that is empty or too long."""
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise BadRequest(f"expected Idempotency-Key to have 1 to {LONGEST_KEY} characters, got {len(key)}")


def _on_disconnect(request: RunRequest, key: str | None) -> OnDisconnect:
    if request.on_disconnect is not None:
        return request.on_disconnect
    if not request.wait_for_completion:
        return "continue"
    return DETACHED_FOR if request.resumable or key is not None else "cancel"


_DESCRIPTION = """
With `output_only: true` a result that streams is answered while it comes, as server-sent events: `data:` events with the
chunks, then `event: end`; or after the first chunk `event: error` with the error as JSON. A stream with neither was cut.
A stream of bytes is answered as it is, if the workflow names no format. A plain result is answered as bare JSON.

With `output_only: false` the answer comes when the run has ended: a task with its output, a stream's chunks joined.

Disconnecting cancels the run, unless it is kept. A run is kept with `resumable: true`, `wait_for_completion: false`, a
`session_id` or an `Idempotency-Key`; then `/tasks/{id}/stream` gives its output from any event on, and `on_disconnect` says
what becomes of it without readers. The same `Idempotency-Key` with the same body gives the same run.
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
    202: {
        "description": "with `wait_for_completion: false`: the run is kept, and runs",
        "headers": {"Location": {"description": "the task", "schema": {"type": "string"}}},
        "model": Task,
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
            503: "a component or the store of runs isn't available, or the queue is full: try again after Retry-After",
            504: "a job, the run or an API took longer than its timeout, or a polled job not done within completion.timeout",
        }
    ),
}
_BODY = {"required": True, "content": {"application/json": {"schema": RunRequest.model_json_schema()}}}


def routes(gateway: Gateway, heartbeat_every: float = HEARTBEAT_EVERY) -> APIRouter:
    """Return the route that starts runs."""
    router = APIRouter(tags=["runs"])

    controller = gateway.plan.controller
    record = controller.store.record == "all"
    sessions = gateway.companion(Sessions)

    async def start_run(request: Request) -> Response:
        asked, keep = decode(await request.body(), request.headers.get("idempotency-key"), record)
        workflow = gateway.workflow(asked.workflow_id)
        if keep is None or asked.session_id is None:
            running = await gateway.begin(workflow, asked.input, keep=keep)
        else:
            on_busy = asked.on_busy or "enqueue"
            running = await sessions.run(workflow, asked.input, asked.session_id, keep, on_busy)
        if not asked.wait_for_completion:
            return await _accepted(gateway, running, request.url.path)
        numbered = asked.resumable
        return RunAnswer(running, asked.output_only, controller.compression, heartbeat_every, numbered=numbered)

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


async def _accepted(gateway: Gateway, running: Running, path: str) -> Response:
    """Return the answer to a request that doesn't wait for the run."""
    id = running.run.id
    await running.aclose()
    headers = {RUN_ID: id, "Location": path.removesuffix("/workflows/runs") + f"/tasks/{id}"}
    return Response(json_bytes(task(await gateway.kept.find(id))), 202, headers, "application/json")
