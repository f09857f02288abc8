"""`GET /workflows` and `/workflows/{id}/schema`: the workflows, the fields they read and the kind of their output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from deployments.asgi.errors import described
from deployments.gateway.gateway import Gateway
from deployments.telemetry.redaction import Redactor
from graphs.export.schema import input_schema
from graphs.plan import InputField, WorkflowPlan
from graphs.stream import Value


class WorkflowSummary(BaseModel):
    """A workflow that can be run."""

    workflow_id: str
    title: str | None
    description: str | None
    default: bool = Field(description="whether it runs when a request names no workflow")


class InputSchema(BaseModel):
    """A field that the workflow reads from its input."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    type: str = Field(examples=["text"])
    subtype: str | None
    format: str | None
    default: Any
    required: bool
    options: list[str] = Field(description="the values of a `select`")
    description: str | None


class OutputSchema(BaseModel):
    """The output of a workflow."""

    type: str | None
    format: str | None = Field(description="`sse-text` or `sse-json`, if the workflow asks for it")
    streams: list[str] = Field(description="the names of several streams side by side")


class WorkflowSchema(WorkflowSummary):
    """The input and the output of a workflow."""

    input: list[InputSchema]
    input_schema: dict[str, Any] = Field(description="the same as JSON Schema")
    output: OutputSchema


class WorkflowList(BaseModel):
    """Every workflow, in document order."""

    workflows: list[WorkflowSummary]


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes that describe the workflows."""
    router = APIRouter(tags=["workflows"])

    async def list_workflows() -> WorkflowList:
        return WorkflowList(workflows=[summary(each, gateway) for each in gateway.plan.workflows.values()])

    async def show_schema(workflow_id: str) -> WorkflowSchema:
        return schema(gateway.workflow(workflow_id), gateway)

    router.add_api_route("/workflows", list_workflows, summary="List the workflows", responses=described({}))
    router.add_api_route(
        "/workflows/{workflow_id}/schema",
        show_schema,
        summary="Show the input and the output of a workflow",
        responses=described({404: "there is no such workflow"}),
    )
    return router


def summary(workflow: WorkflowPlan, gateway: Gateway) -> WorkflowSummary:
    """Return the summary of a workflow."""
    return WorkflowSummary(
        workflow_id=workflow.id,
        title=gateway.redactor.value(workflow.title),
        description=gateway.redactor.value(workflow.description),
        default=workflow.id == gateway.plan.default_workflow or len(gateway.plan.workflows) == 1,
    )


def schema(workflow: WorkflowPlan, gateway: Gateway) -> WorkflowSchema:
    """Return the input and the output of a workflow; values from the environment stay hidden."""
    kind = workflow.output_kind
    public = replace(workflow, inputs=tuple(_public(field, gateway.redactor) for field in workflow.inputs))
    return WorkflowSchema(
        **summary(workflow, gateway).model_dump(),
        input=[InputSchema.model_validate(field) for field in public.inputs],
        input_schema=input_schema(public),
        output=OutputSchema(type=kind.type, format=kind.format, streams=list(kind.names)),
    )


def _public(field: InputField, redactor: Redactor) -> InputField:
    """Return the field without secrets: a default or an option that holds one is left out, for `***` is neither."""
    options = tuple(option for option in field.options if _is_public(option, redactor))
    subtype = ",".join(options) or None if field.type == "select" else redactor.value(field.subtype)
    default = field.default if _is_public(field.default, redactor) else None
    description = redactor.value(field.description)
    return field._replace(subtype=subtype, default=default, options=options, description=description)


def _is_public(value: Value, redactor: Redactor) -> bool:
    return redactor.value(value) == value
