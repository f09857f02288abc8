"""The document as written, once both layouts are one: pydantic models of every key that isn't a component type's own.

Here are the document's own keys; those of jobs are in `job_types`, those of the store in `store`, of bridges in `bridges`. Values that may hold bindings are `Any`: the checker
compiles them from the tree, where they keep their positions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from graphs.document.bridges import Mqtt
from graphs.document.field_types import (
    AboveZero,
    Amount,
    Count,
    Id,
    Origin,
    Port,
    Positive,
    SpecModel,
    Switch,
    Template,
    listed,
)
from graphs.document.runtime_env import RuntimeEnv
from graphs.document.store import Store, by_its_url
from graphs.units import Duration, Size, Timeout


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"num_gpus above 1 must be whole, got {gpus:g}; write {int(gpus) + 1}")
    return gpus


class Resources(SpecModel):
    """What each replica takes of the cluster."""

    num_gpus: Annotated[Amount, AfterValidator(_whole_above_one)] | None = Field(
        default=None, description="GPUs per replica; 0.5 shares one between two"
    )
    num_cpus: Amount | None = Field(default=None, description="CPUs per replica")
    memory: Annotated[Size, Field(description="bytes per replica, or 8GiB")] | None = None
    accelerator_type: Annotated[str, Field(description="the kind of GPU, as Ray names it: A100, H100, L4")] | None = (
        None
    )


class Autoscaling(SpecModel):
    """Replicas by load."""

    min: Count = 1
    max: Positive = 1
    initial: Count | None = None
    target_ongoing_requests: AboveZero | None = None
    upscale_delay: Duration | None = None
    downscale_delay: Duration | None = None
    metrics_interval: Duration | None = None
    look_back_period: Duration | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Autoscaling:
        for name, value in (("min", self.min), ("initial", self.initial)):
            if value is None or value <= self.max:
                continue
            if "max" not in self.model_fields_set:
                raise ValueError(
                    f"autoscaling {name} {value} is above max, which is 1 by default; write max: {value} or more"
                )
            raise ValueError(f"autoscaling {name} {value} is above max {self.max}; write {name}: {self.max} or less")
        if self.initial is not None and self.initial < self.min:
            raise ValueError(
                f"autoscaling initial {self.initial} is below min {self.min}; write initial: {self.min} or more"
            )
        return self


Placement = Literal["own", "ingress"]
"""Where a component runs: in a deployment of its own, or in the process of the ingress."""


class Deployment(SpecModel):
    """What every deployment, a component's or the ingress, may ask of Ray Serve."""

    resources: Resources | None = None
    replicas: Positive | None = None
    autoscaling: Autoscaling | None = None
    max_concurrent_count: Positive | None = Field(default=None, description="ongoing requests per replica")
    max_queued: Count | None = Field(default=None, description="waiting requests; beyond it 503 with Retry-After")
    runtime_env: RuntimeEnv | None = None

    @model_validator(mode="after")
    def _one_way_to_scale(self) -> Deployment:
        if self.replicas is not None and self.autoscaling is not None:
            raise ValueError("replicas and autoscaling can't be combined; keep one")
        return self


class Webui(SpecModel):
    driver: Literal["gradio"] = "gradio"
    host: str | None = None
    port: Port | None = None


class Doors(SpecModel):
    """How the vendors' APIs (OpenAI's, Anthropic's) answer for workflows."""

    primary: str | None = Field(
        default=None, description="which of several streams side by side is the answer; else the first"
    )


class Sessions(SpecModel):
    """How long sessions are kept, and how much of one is sent to what answers."""

    keep_for: Timeout = Field(default=30 * 86400.0, description="how long a session is kept after its last message")
    max_messages: Positive = Field(default=400, description="messages that are sent at most; the oldest are left out")
    max_characters: Positive | None = Field(
        default=None,
        description="characters that are sent at most; 24000 for a workflow. A model component counts tokens by itself",
    )


INGRESS_LIMIT = 4096


def _or_the_default(count: int | None) -> int:
    return INGRESS_LIMIT if count is None else count


class Controller(Deployment):
    """How the document is served."""

    type: Literal["http-server"] = "http-server"
    name: str | None = None
    host: str | None = None
    port: Port | None = None
    origins: Annotated[list[Origin], BeforeValidator(listed, json_schema_input_type=str | list[str])] = Field(
        default=[], description="browsers' origins, or '*'"
    )
    compression: bool = False
    max_request_size: Size = 32 * 1024 * 1024
    placement: Placement = Field(
        default="own", description="where components of light types run that don't say it themselves"
    )
    webui: Webui | None = None
    store: Annotated[Store | None, BeforeValidator(by_its_url, json_schema_input_type=str | Store | None)] = Field(
        default=None, description="where runs are kept that outlive their request"
    )
    models: dict[str, str] = Field(
        default={}, description="other names of workflows and models at the vendors' APIs: `gpt-4o: chat`"
    )
    doors: Doors = Field(default_factory=Doors)
    sessions: Sessions = Field(default_factory=Sessions)
    bridges: Annotated[list[Mqtt], BeforeValidator(listed, json_schema_input_type=Mqtt | list[Mqtt])] = Field(
        default=[], description="ways in that dial out: brokers of MQTT"
    )
    max_concurrent_count: Annotated[Positive | None, AfterValidator(_or_the_default)] = Field(
        default=INGRESS_LIMIT, description="ongoing requests per replica, streams too"
    )
    max_queued: Annotated[Count | None, AfterValidator(_or_the_default)] = Field(
        default=INGRESS_LIMIT, description="waiting requests; beyond it 503 with Retry-After"
    )


class Component(Deployment, defer_build=False):
    """The keys of every component; its type adds its own."""

    id: Id | None = None
    type: str
    title: str | None = None
    description: str | None = None
    default: Switch = False
    placement: Placement | None = Field(
        default=None, description="own: a deployment of its own; ingress: in the process of the ingress"
    )


class Action(SpecModel):
    """The keys of every action; the component's type adds its own."""

    id: Id | None = None
    default: Switch = False
    output: Template = None


class Workflow(SpecModel, defer_build=False):
    id: Id | None = None
    title: str | None = None
    description: str | None = None
    default: Switch = False
    output: Template = None
    timeout: Timeout | None = None


DOCUMENT_KEYS = ("controller", "component", "components", "workflow", "workflows")

EXTENSION = "x-"
"""How keys at the top begin that may hold anything: anchors to be used elsewhere."""
