"""A workflow used as a component: an input goes to it, its result comes back, inside the same run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import Field

from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Streamable
from graphs.errors import ComponentFailed


class WorkflowConfig(ComponentConfig):
    workflow: str | None = Field(default=None, description="The id of the workflow; the default one when left out.")


class WorkflowInput(ActionInput):
    input: Streamable[Any] = Field(default=None, description="What the workflow gets as its input.")


class Workflow(Component[WorkflowConfig, WorkflowInput]):
    """Runs another workflow of the document. The runner does it itself, so it needs no deployment."""

    type = "workflow"
    Config = WorkflowConfig
    Input = WorkflowInput
    deployed = False

    def run(self, input: WorkflowInput) -> AsyncIterator[Chunk]:
        del input
        raise ComponentFailed(f"component {self.id!r}: a workflow is run by the runner, inside the run that calls it")
