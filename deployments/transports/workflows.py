"""`GET /workflows` and `/workflows/{id}/schema`: what can be run, the fields it reads and the kind of output it gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from deployments.asgi.errors import described
from deployments.gateway.gateway import Gateway
from deployments.telemetry.redaction import Redactor
from graphs.export.schema import input_schema
from graphs.plan import InputField, OutputKind, WorkflowPlan
from graphs.stream import Value


class WorkflowSummary(BaseModel):
    """A workflow that can be run."""

    workflow_id: str
    title: str | None
    description: str | None
    default: bool = Field(description="whether it is run when a request names none")


class InputSchema(BaseModel):
    """A field that the workflow reads from its input."""

    name: str
    type: str = Field(examples=["text"])
    subtype: str | None
    format: str | None
    default: Any
    required: bool
    options: list[str] = Field(description="of a `select`, what may be chosen")
    description: str | None


class OutputSchema(BaseModel):
    """What the workflow gives."""

    type: str | None
    format: str | None = Field(description="`sse-text` or `sse-json` where the workflow asks for it")
    streams: list[str] = Field(description="of several streams side by side, their names")


class WorkflowSchema(BaseModel):
    """What a workflow takes and gives."""

    workflow_id: str
    title: str | None
    description: str | None
    default: bool
    input: list[InputSchema]
    input_schema: dict[str, Any] = Field(description="the same as JSON Schema")
    output: OutputSchema


class WorkflowList(BaseModel):
    """Every workflow, in document order."""

    workflows: list[WorkflowSummary]


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes that tell what can be run."""
    router = APIRouter(tags=["workflows"])

    async def list_workflows() -> WorkflowList:
        return WorkflowList(workflows=[summary(each, gateway) for each in gateway.workflows()])

    async def show_schema(workflow_id: str) -> WorkflowSchema:
        return schema(gateway.workflow(workflow_id), gateway)

    router.add_api_route("/workflows", list_workflows, summary="List the workflows", responses=described({}))
    router.add_api_route(
        "/workflows/{workflow_id}/schema",
        show_schema,
        summary="Tell what a workflow takes and gives",
        responses=described({404: "there is no such workflow"}),
    )
    return router


def summary(workflow: WorkflowPlan, gateway: Gateway) -> WorkflowSummary:
    """Return what a workflow is."""
    return WorkflowSummary(
        workflow_id=workflow.id,
        title=_told(workflow.title, gateway.redactor),
        description=_told(workflow.description, gateway.redactor),
        default=workflow.id == gateway.plan.default_workflow or len(gateway.workflows()) == 1,
    )


def schema(workflow: WorkflowPlan, gateway: Gateway) -> WorkflowSchema:
    """Return what a workflow takes and gives; what it has from the environment stays hidden."""
    public = replace(workflow, inputs=tuple(_public(field, gateway.redactor) for field in workflow.inputs))
    return WorkflowSchema(
        **summary(workflow, gateway).model_dump(),
        input=[_field(field) for field in public.inputs],
        input_schema=input_schema(public),
        output=_output(workflow.output_kind),
    )


def _public(field: InputField, redactor: Redactor) -> InputField:
    """Return the field without secrets: a default or an option that holds one is left out, for `***` is neither."""
    options = tuple(option for option in field.options if _is_public(option, redactor))
    subtype = ",".join(options) or None if field.type == "select" else _told(field.subtype, redactor)
    default = field.default if _is_public(field.default, redactor) else None
    description = _told(field.description, redactor)
    return replace(field, subtype=subtype, default=default, options=options, description=description)


def _is_public(value: Value, redactor: Redactor) -> bool:
    return redactor.value(value) == value


def _told(text: str | None, redactor: Redactor) -> str | None:
    return None if text is None else redactor.text(text)


def _field(field: InputField) -> InputSchema:
    return InputSchema(
        name=field.name,
        type=field.type,
        subtype=field.subtype,
        format=field.format,
        default=field.default,
        required=field.required,
        options=list(field.options),
        description=field.description,
    )


def _output(kind: OutputKind) -> OutputSchema:
    return OutputSchema(type=kind.type, format=kind.format, streams=list(kind.names))
