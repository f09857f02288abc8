"""Use a workflow of the document as a component, inside the same run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Streamable
from graphs.errors import ComponentFailed


class WorkflowConfig(ComponentConfig):
    workflow: str | None = Field(default=None, description="The id of the workflow. Unset: the default one.")


class WorkflowInput(ActionInput):
    input: Streamable[Any] = Field(default=None, description="The input of the workflow.")


class Workflow(Component[WorkflowConfig, WorkflowInput]):
    """Runs another workflow of the document. The runner itself runs it, so it has no deployment."""

    type = "workflow"
    Config = WorkflowConfig
    Input = WorkflowInput
    deployed = False

    def run(self, input: WorkflowInput) -> AsyncIterator[Chunk]:
        del input
        raise ComponentFailed(f"component {self.id!r}: only the runner runs a workflow, inside the run that calls it")
