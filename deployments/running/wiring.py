"""A workflow -> who reads whose output, and how: settled when its plan was made."""

from __future__ import annotations

from graphs.plan import Inputs, Readers, Wiring, WorkflowPlan

__all__ = ["Inputs", "Readers", "Wiring", "wire"]


def wire(workflow: WorkflowPlan) -> Wiring:
    """Return who reads whose output."""
    return workflow.wiring
