"""`/tasks`: kept runs, listed, shown, followed, stopped and forgotten, whichever replica runs them."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deployments.asgi.errors import RUN_ID, described, error_response
from deployments.asgi.json_values import json_bytes, shortened
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import RunInfo
from deployments.gateway.log import Status
from deployments.transports.run_answer import HEARTBEAT_EVERY, PRIMING, How, OutputOfLog
from deployments.transports.run_events import EventsOfLog
from deployments.transports.task_json import Task, TaskList, problem, task
from graphs.errors import AnabranchError, BadRequest, Conflict

_LAST = Annotated[str | None, Query(description="like the header Last-Event-ID, which wins")]
_PACE = Annotated[Literal["real"] | None, Query(description="real: with the pauses that it was made with")]
_LIMIT = Annotated[int, Query(ge=1, le=500, description="how many at most")]
_BEFORE = Annotated[str | None, Query(description="those older than this run")]
_OUTPUT_ONLY = Annotated[bool, Query(description="the bare output; 409 while the run is under way")]
_CHUNKS = Annotated[bool, Query(description="with the chunks of the output")]
_JOB_CHUNKS = Annotated[
    bool, Query(description="with the chunks of every job, of a run started with `job_chunks: true`")
]

_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the run; with `output_only` its output alone",
        "content": {"application/json": {"schema": {"anyOf": [Task.model_json_schema(), {"title": "Output"}]}}},
    }
}
_UNKNOWN = {404: "there is no such run: it was never kept, or is forgotten", 503: "the store of runs can't be reached"}

_NO_OUTPUT = {
    409: "with `output_only`: the run is under way",
    502: "with `output_only`: a component failed, or an API that it called",
    504: "with `output_only`: the run took too long",
}


def routes(gateway: Gateway, heartbeat_every: float = HEARTBEAT_EVERY) -> APIRouter:
    """Return the routes of kept runs."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])
    kept = gateway.kept
    how = How(gateway.plan.controller.compression, heartbeat_every)

    async def list_tasks(
        workflow_id: str | None = None,
        status: Status | None = None,
        session_id: str | None = None,
        before: _BEFORE = None,
        limit: _LIMIT = 50,
    ) -> Response:
        runs = await kept.list(workflow=workflow_id, status=status, session=session_id, before=before, limit=limit + 1)
        shown = runs[:limit]
        body = {"tasks": [task(info) for info in shown], "next": shown[-1].id if len(runs) > limit else None}
        return Response(json_bytes(body), media_type="application/json")

    async def show_task(task_id: str, output_only: _OUTPUT_ONLY = False) -> Response:
        info = await kept.find(task_id)
        return await (_output if output_only else _shown)(gateway, info)

    async def follow_output(
        request: Request, task_id: str, last_event_id: _LAST = None, pace: _PACE = None
    ) -> Response:
        after = _after(request, last_event_id)
        running = await gateway.follow(task_id, after, PRIMING)
        return OutputOfLog(running, after, how._replace(real_pace=pace == "real"))

    async def follow_events(
        request: Request,
        task_id: str,
        last_event_id: _LAST = None,
        pace: _PACE = None,
        chunks: _CHUNKS = True,
        job_chunks: _JOB_CHUNKS = False,
    ) -> Response:
        after = _after(request, last_event_id)
        running = await gateway.follow(task_id, after)
        its = how._replace(real_pace=pace == "real")
        return EventsOfLog(running, after, its, chunks=chunks, job_chunks=job_chunks)

    async def cancel_task(task_id: str) -> Response:
        return await _shown(gateway, await kept.cancel(task_id))

    async def forget_task(task_id: str) -> Response:
        await kept.forget(task_id)
        return Response(status_code=204)

    stream: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "the run has ended, and the reader has seen its end"},
        **described({**_UNKNOWN, 400: "Last-Event-ID is no number"}),
    }
    for path, answer, method, summary, responses in (
        ("", list_tasks, "GET", "List runs, the newest first", {200: {"model": TaskList}, **described(_UNKNOWN)}),
        ("/{task_id}", show_task, "GET", "Show a run", {**_SHOWN, **described({**_UNKNOWN, **_NO_OUTPUT})}),
        ("/{task_id}/stream", follow_output, "GET", "Follow or replay the output of a run", stream),
        ("/{task_id}/events", follow_events, "GET", "Follow or replay all that a run says", stream),
        ("/{task_id}/cancel", cancel_task, "POST", "Stop a run", {200: {"model": Task}, **described(_UNKNOWN)}),
        (
            "/{task_id}", forget_task, "DELETE", "Forget a run that has ended",
            {204: {"description": "it is forgotten"}, **described({**_UNKNOWN, 409: "the run is under way"})},
        ),
    ):  # fmt: skip
        router.add_api_route(
            path, answer, methods=[method], summary=summary, responses=responses, response_class=Response
        )
    return router


async def _output(gateway: Gateway, info: RunInfo) -> Response:
    if not info.ended:
        raise Conflict(f"run {info.id} is {info.status}, and has no output yet; read /tasks/{info.id}/stream")
    try:
        output = await _finished(gateway, info)
    except AnabranchError as error:
        return error_response(error, info.id)
    return Response(json_bytes(output), headers={RUN_ID: info.id}, media_type="application/json")


async def _shown(gateway: Gateway, info: RunInfo) -> Response:
    more: dict[str, Any] = {}
    try:
        if info.status == "completed":
            more["output"] = await _finished(gateway, info)
        elif info.ended:
            await _finished(gateway, info)
    except AnabranchError as error:
        more["error"] = problem(error, info.id)
    return Response(json_bytes(task(info, **more)), headers={RUN_ID: info.id}, media_type="application/json")


async def _finished(gateway: Gateway, info: RunInfo) -> Any:
    """Return the output of a run that has ended; raise its error."""
    first = -1 if info.status == "completed" else info.last - 1
    async with aclosing(await gateway.follow(info.id, first)) as running:
        return (await running.finish()).output


def _after(request: Request, asked: str | None) -> int:
    """Return the number of the last event that the client has seen, -1 for none."""
    text = request.headers.get("last-event-id", asked)
    if text is None or not text.strip():
        return -1
    if not (text.strip().isascii() and text.strip().isdecimal()) or len(text) > 16:
        raise BadRequest(
            f"expected Last-Event-ID to be the number of an event, got '{shortened(text)}'; leave it out to read from the start"
        )
    return int(text)
