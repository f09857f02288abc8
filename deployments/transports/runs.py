"""The HTTP API of workflows and their runs: requests in, JSON and Server-Sent Events out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from deployments.gateway import Gateway
from deployments.transports.answers import RunAnswer
from deployments.transports.requests import read_json, validate
from deployments.transports.responses import json_response
from graphs.errors import InvalidInput
from graphs.plan import WorkflowPlan
from graphs.schema import input_schema


class RunRequest(BaseModel):
    """What POST /workflows/runs takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workflow_id: str | None = Field(default=None, description="the workflow; may be left out where one is the default")
    input: Any = Field(default=None, description="the workflow's input; see its schema")
    wait_for_completion: bool = Field(default=True, description="answer when the run has ended, or streams")
    output_only: bool = Field(default=False, description="answer the output alone: SSE when it streams, else bare JSON")
    resumable: bool = False
    session_id: str | None = None


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes, to be mounted bare and under /api."""
    router = APIRouter(tags=["workflows"])

    @router.get("/workflows", summary="The workflows")
    async def workflows() -> Response:
        listed = [_summary(each, gateway) for each in gateway.workflows.values()]
        return json_response({"workflows": listed})

    @router.get("/workflows/{workflow_id}/schema", summary="A workflow's input fields and output")
    async def schema(workflow_id: str) -> Response:
        return json_response(_schema(gateway.workflow(workflow_id), gateway))

    @router.post(
        "/workflows/runs",
        summary="Run a workflow",
        responses={200: {"content": {"application/json": {}, "text/event-stream": {}}}},
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": RunRequest.model_json_schema()}}}
        },
    )
    async def start(request: Request) -> Response:
        asked = decode(await read_json(request, gateway.controller.max_request_size))
        workflow = gateway.workflow(asked.workflow_id)
        running = gateway.start(workflow.id, {} if asked.input is None else asked.input, asked.session_id)
        return RunAnswer(
            running, workflow.output_kind, output_only=asked.output_only, compression=gateway.controller.compression
        )

    del workflows, schema, start
    return router


def decode(body: dict[str, Any]) -> RunRequest:
    """Return what is asked for; what this version can't do yet is refused, not dropped."""
    asked = validate(RunRequest, body, "the request")
    if not asked.wait_for_completion:
        raise InvalidInput(
            "wait_for_completion: runs in the background are not there yet; write true", field="wait_for_completion"
        )
    if asked.resumable:
        raise InvalidInput("resumable: streams that resume are not there yet; leave it out", field="resumable")
    return asked


def _summary(workflow: WorkflowPlan, gateway: Gateway) -> dict[str, Any]:
    return {
        "workflow_id": workflow.id,
        "title": workflow.title,
        "description": workflow.description,
        "default": workflow.id == gateway.default_workflow,
    }


def _schema(workflow: WorkflowPlan, gateway: Gateway) -> dict[str, Any]:
    kind = workflow.output_kind
    return {
        **_summary(workflow, gateway),
        "input": [
            {
                "name": field.name,
                "type": field.type,
                "subtype": field.subtype,
                "format": field.format,
                "default": field.default,
                "required": field.required,
                "options": list(field.options),
                "description": field.description,
            }
            for field in workflow.inputs
        ],
        "input_schema": input_schema(workflow),
        "output": {"type": kind.type, "format": kind.format, "streams": list(kind.names)},
    }
