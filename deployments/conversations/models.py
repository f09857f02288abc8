"""The model that a request names -> the workflow that answers it, and the input of the run; or what is wrong with the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deployments.conversations.parameters import check_for_component
from deployments.conversations.request import Conversation
from graphs.component import Use
from graphs.errors import InvalidInput, NotFound
from graphs.plan import Model, Plan, WorkflowPlan
from graphs.stream import Value
from graphs.suggest import closest

SHOWN = 20
USES: Mapping[Use, str] = {"chat": "conversations", "completion": "continuing a text", "embedding": "embeddings"}
"""What a model may be good for, whichever vendor's API asks."""


class Asked(NamedTuple):
    """A run to begin."""

    name: str
    """The model, as the request names it."""
    model: Model
    workflow: WorkflowPlan
    input: Value


def asked(plan: Plan, conversation: Conversation) -> Asked:
    """Return the run that a request asks for."""
    name = conversation.model if conversation.model is not None else _default(plan)
    model = find(plan, name)
    id = model.uses.get(conversation.use)
    if id is None:
        raise InvalidInput(_misused(name, model, conversation.use), field="model")
    workflow = plan.workflow(id)
    assert workflow is not None, "the plan holds the workflows of its models"
    if model.is_component:
        if conversation.extra:
            message = f"input: '{name}' is a model, and reads no input of a workflow; leave it out, or name a workflow"
            raise InvalidInput(message, field="input")
        if conversation.body is not None:
            check_for_component(conversation.body, conversation.fields)
        return Asked(name, model, workflow, conversation.for_component())
    input = conversation.for_workflow()
    _check_required(workflow, input)
    return Asked(name, model, workflow, input)


def find(plan: Plan, name: str) -> Model:
    """Return the model of this name; raise NotFound."""
    model = plan.models.get(name)
    if model is None:
        shown = name if len(name) <= 80 else f"{name[:79]}…"
        near = closest(name, plan.models)
        message = f"there is no model '{shown}'; " + (f"did you mean '{near}'? " if near else "") + _listed(plan)
        raise NotFound(message, code="model_not_found", field="model", models=list(plan.models))
    return model


def _default(plan: Plan) -> str:
    """Return what a request means that names no model."""
    if plan.default_workflow is not None:
        return plan.default_workflow
    if len(plan.workflows) == 1:
        return next(iter(plan.workflows))
    raise InvalidInput(f"model: name one; {_listed(plan)}", field="model")


def _listed(plan: Plan) -> str:
    known = list(plan.models)
    if not known:
        return "the document has no workflow and no model"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"the models are {', '.join(known[:SHOWN])}{more}"


def _misused(name: str, model: Model, use: Use) -> str:
    if use == "count":
        kind = "a workflow" if not model.is_component else "no model that reads a conversation"
        return f"model: '{name}' is {kind}, and only models by themselves count tokens; name a model component"
    good = " and ".join(USES[each] for each in model.uses if each in USES)
    return f"model: '{name}' is not a model for {USES[use]}; it is one for {good}: name another model, or ask this one for that"


def _check_required(workflow: WorkflowPlan, input: Mapping[str, Value]) -> None:
    for field in workflow.inputs:
        if field.required and input.get(field.name) is None:
            raise InvalidInput(
                f"{field.name}: the workflow '{workflow.id}' needs it; send it in the request as metadata.input.{field.name}, "
                f"or beside the request's own fields as input.{field.name}",
                field=field.name,
            )
