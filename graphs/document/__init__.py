"""The document as written, once both layouts are one: pydantic models of every key that isn't a component type's own.

Values that may hold bindings are `Any` here; the checker compiles them from the tree, where they keep their positions.
"""

from graphs.document.document import (
    DOCUMENT_KEYS,
    EXTENSION,
    Action,
    Autoscaling,
    Component,
    Controller,
    Deployment,
    Resources,
    Webui,
    Workflow,
)
from graphs.document.field_types import ID_PATTERN
from graphs.document.job_types import (
    JOB_KEYS,
    JOBS,
    ROUTERS,
    CallJob,
    Condition,
    DelayJob,
    Do,
    ForEachJob,
    GivingJob,
    IfJob,
    JobBase,
    OnError,
    RandomJob,
    Retry,
    Route,
    SwitchCase,
    SwitchJob,
)
from graphs.document.runtime_env import RuntimeEnv

__all__ = [
    "DOCUMENT_KEYS",
    "EXTENSION",
    "ID_PATTERN",
    "JOBS",
    "JOB_KEYS",
    "ROUTERS",
    "Action",
    "Autoscaling",
    "CallJob",
    "Component",
    "Condition",
    "Controller",
    "DelayJob",
    "Deployment",
    "Do",
    "ForEachJob",
    "GivingJob",
    "IfJob",
    "JobBase",
    "OnError",
    "RandomJob",
    "Resources",
    "Retry",
    "Route",
    "RuntimeEnv",
    "SwitchCase",
    "SwitchJob",
    "Webui",
    "Workflow",
]
