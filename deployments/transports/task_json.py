"""A kept run, seen from outside: the task that the API shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from deployments.asgi.errors import error_json
from deployments.asgi.json_values import json_bytes
from deployments.gateway.kept import RunInfo
from deployments.gateway.log import Status
from deployments.runs.events import Run
from graphs.errors import AnabranchError


class Task(BaseModel):
    """A run, seen from outside."""

    task_id: str
    workflow_id: str
    status: Status = Field(examples=["completed"])
    output: Any = Field(default=None, description="the chunks of a stream are joined; several streams are a mapping")
    error: dict[str, Any] | None = Field(
        default=None, description="why it failed or was stopped: type, message and more"
    )
    session_id: str | None = None
    created_at: str = Field(examples=["2030-01-01T12:00:00.000Z"])
    completed_at: str | None = None
    last_event_id: int | None = Field(default=None, description="the number of the newest event, of a run that is kept")


class TaskList(BaseModel):
    """Runs, the newest first, without their outputs."""

    tasks: list[Task]
    next: str | None = Field(description="what to give as `before` to get older ones; null when there are none")


def completed_task(run: Run, output: Any, completed_at: float) -> bytes:
    """Return the task of a run that succeeded, as JSON."""
    session = run.context.session_id
    return json_bytes(_task(run.id, run.workflow, "completed", session, run.started_at, completed_at, output=output))


def task(info: RunInfo, **more: Any) -> dict[str, Any]:
    """Return the task of a kept run, with its output or its error."""
    known = _task(info.id, info.workflow, info.status, info.session_id, info.created_at, info.ended_at, **more)
    return {**known, "last_event_id": info.last}


def problem(error: AnabranchError, run_id: str) -> Any:
    """Return an error as a task shows it."""
    return json.loads(error_json(error, run_id))["error"]


def moment(time: float) -> str:
    """Return a time as the API writes it."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _task(
    id: str, workflow: str, status: str, session: str | None, created_at: float, ended_at: float | None, **more: Any
) -> dict[str, Any]:
    known = {"task_id": id, "workflow_id": workflow, "status": status, **more, "created_at": moment(created_at)}
    if ended_at is not None:
        known["completed_at"] = moment(ended_at)
    return known if session is None else {**known, "session_id": session}
