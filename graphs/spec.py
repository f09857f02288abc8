"""The document as written, once both layouts are one: pydantic models of every key that isn't a component type's own.

Values that may hold bindings are `Any` here; the checker compiles them from the tree, where they keep their positions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from graphs.units import Duration, Size

ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]*$"
Id = Annotated[str, Field(pattern=ID_PATTERN, max_length=128)]
Template = Any
"""A value in which bindings may stand."""


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")  # pydantic would take true for 1
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Number = Annotated[float, BeforeValidator(_no_boolean)]
Port = Annotated[Whole, Field(ge=1, le=65535)]


class SpecModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(SpecModel):
    """What each replica takes of the cluster."""

    num_gpus: Annotated[Number, Field(ge=0, description="GPUs per replica; 0.5 shares one between two")] | None = None
    num_cpus: Annotated[Number, Field(ge=0, description="CPUs per replica")] | None = None
    memory: Annotated[Size, Field(description="bytes per replica, or 8GiB")] | None = None
    accelerator_type: Annotated[str, Field(description="the kind of GPU, as Ray names it: A100, H100, L4")] | None = (
        None
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> Resources:
        if self.num_gpus and self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError(f"num_gpus above 1 must be whole, got {self.num_gpus:g}; write {int(self.num_gpus) + 1}")
        return self


class Autoscaling(SpecModel):
    """Replicas by load."""

    min: Whole = Field(default=1, ge=0)
    max: Whole = Field(default=1, ge=1)
    initial: Whole | None = Field(default=None, ge=0)
    target_ongoing_requests: Number | None = Field(default=None, gt=0)
    upscale_delay: Duration | None = None
    downscale_delay: Duration | None = None
    metrics_interval: Duration | None = None
    look_back_period: Duration | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Autoscaling:
        if self.min > self.max:
            raise ValueError(f"autoscaling min {self.min} is above max {self.max}; write min: {self.max} or less")
        if self.initial is not None and not self.min <= self.initial <= self.max:
            raise ValueError(f"autoscaling initial {self.initial} is not between min {self.min} and max {self.max}")
        return self


class Deployment(SpecModel):
    """What every deployment, a component's or the ingress, may ask of Ray Serve."""

    resources: Resources | None = None
    replicas: Whole | None = Field(default=None, ge=1)
    autoscaling: Autoscaling | None = None
    max_concurrent_count: Whole | None = Field(default=None, ge=1, description="ongoing requests per replica")
    max_queued: Whole | None = Field(default=None, ge=0, description="waiting requests; beyond it 503 with Retry-After")
    runtime_env: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_way_to_scale(self) -> Deployment:
        if self.replicas is not None and self.autoscaling is not None:
            raise ValueError("replicas and autoscaling exclude each other; keep one")
        return self


class Webui(SpecModel):
    driver: Literal["gradio"] = "gradio"
    host: str | None = None
    port: Port | None = None


class Controller(Deployment):
    """How the document is served."""

    type: Literal["http-server"] = "http-server"
    name: str | None = None
    host: str | None = None
    port: Port | None = None
    origins: Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])] = Field(
        default=[], description="browsers' origins, or '*'"
    )
    compression: bool = False
    max_request_size: Size = 32 * 1024 * 1024
    webui: Webui | None = None
    max_concurrent_count: int | None = Field(
        default=4096, ge=1, description="ongoing requests per replica, streams too"
    )
    max_queued: int | None = Field(default=4096, ge=0, description="waiting requests; beyond it 503 with Retry-After")


class Component(Deployment):
    """The keys of every component; its type adds its own."""

    id: Id | None = None
    type: str
    title: str | None = None
    description: str | None = None
    default: bool = False


class Action(SpecModel):
    """The keys of every action; the component's type adds its own."""

    id: Id | None = None
    default: bool = False
    output: Template = None


def _factor(value: Any) -> Any:
    """Return the factor that a word for it means."""
    if not isinstance(value, str):
        return _no_boolean(value)
    if value not in BACKOFFS:
        raise ValueError(f"expected a factor or one of {', '.join(BACKOFFS)}, got {value!r}; write 2, or exponential")
    return BACKOFFS[value]


BACKOFFS = {"fixed": 1.0, "exponential": 2.0}
Factor = Annotated[
    float, BeforeValidator(_factor, json_schema_input_type=float | Literal["fixed", "exponential"]), Field(ge=1)
]


class Retry(SpecModel):
    """How often a failed job is tried, and the pauses between."""

    max_attempts: Whole = Field(default=1, ge=1, le=100)
    delay: Duration = 0.0
    backoff: Factor = 1.0
    max_delay: Duration = 60.0


class OnError(SpecModel):
    output: Template = None
    to: Id | None = None

    @model_validator(mode="after")
    def _one_of(self) -> OnError:
        if len(self.model_fields_set & {"output", "to"}) != 1:
            raise ValueError(
                "on_error takes exactly one of output and to; write `on_error: {output: …}` or `{to: job-id}`"
            )
        return self


def _attempts(value: Any) -> Any:
    if isinstance(value, str | bool | float):
        raise ValueError("expected a number of attempts, or a mapping; write `retry: 3` or `retry: {max_attempts: 3}`")
    return {"max_attempts": value} if isinstance(value, int) else value


class JobBase(SpecModel):
    id: Id | None = None
    title: str | None = None
    depends_on: Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])] = []
    condition: Template = None
    retry: Annotated[Retry, BeforeValidator(_attempts, json_schema_input_type=int | Retry)] = Retry()
    on_error: OnError | None = None


class GivingJob(JobBase):
    """A job that has an output; routers have none."""

    output: Template = None


class CallJob(GivingJob):
    """Calls a component."""

    type: Literal["component"] = "component"
    component: Any = None
    action: str | None = None
    input: Template = None


class Do(SpecModel):
    component: Any = None
    action: str | None = None
    input: Template = None
    output: Template = None


class ForEachJob(GivingJob):
    """Calls a component for each item of `input`; the call sees `item` and `index`."""

    type: Literal["for-each"]
    input: Template
    do: Do
    max_concurrent_count: Whole = Field(default=8, ge=1)
    streaming: Template = None


class Condition(SpecModel):
    condition: Template
    if_true: str


class IfJob(JobBase):
    """Chooses the job that runs next by conditions."""

    type: Literal["if"]
    if_true: str | None = None
    if_false: str | None = None
    conditions: list[Condition] = []
    otherwise: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> IfJob:
        single = self.condition is not None
        if single == bool(self.conditions):
            raise ValueError(
                "an if job takes either condition with if_true and if_false, or a list of conditions; write one of the two"
            )
        if single and not (self.if_true or self.if_false):
            raise ValueError("an if job leads nowhere; write if_true or if_false with the id of a job")
        if single and self.otherwise:
            raise ValueError("otherwise belongs to a list of conditions; write if_false")
        if not single and (self.if_true or self.if_false):
            raise ValueError(
                "if_true and if_false belong to a single condition; put them into the list, and write otherwise"
            )
        return self


class SwitchCase(SpecModel):
    value: Template
    then: str


class SwitchJob(JobBase):
    """Chooses the job that runs next by a value."""

    type: Literal["switch"]
    input: Template
    cases: list[SwitchCase] = Field(min_length=1)
    otherwise: str | None = None


class Route(SpecModel):
    to: str
    weight: Number | None = Field(default=None, ge=0)


class RandomJob(JobBase):
    """Chooses the job that runs next by chance."""

    type: Literal["random-router"]
    mode: Literal["uniform", "weighted"] | None = None
    routings: list[Route] = Field(min_length=1)

    @model_validator(mode="after")
    def _weighted(self) -> RandomJob:
        weights = [route.weight for route in self.routings]
        if self.mode == "uniform" and any(weight is not None for weight in weights):
            raise ValueError("a uniform router takes no weights; remove them or write mode: weighted")
        if self.mode == "weighted" and any(weight is None for weight in weights):
            raise ValueError("a weighted router needs a weight for all routings; write `weight:` on each")
        if any(weight is not None for weight in weights) and not any(weights):
            raise ValueError("all weights are 0; give at least one route a weight above 0")
        return self


class DelayJob(GivingJob):
    """Waits a while, or until a time."""

    type: Literal["delay"]
    mode: Literal["time-interval", "specific-time"] | None = None
    duration: Template = None
    time: Template = None
    timezone: str | None = None

    @model_validator(mode="after")
    def _one_of(self) -> DelayJob:
        if (self.duration is None) == (self.time is None):
            raise ValueError("a delay takes exactly one of duration and time; write `duration: 5s`")
        return self


ROUTERS = frozenset({"if", "switch", "random-router"})
"""Types of jobs that choose the next one, and have no output."""

JOBS: dict[str, type[JobBase]] = {
    "component": CallJob,
    "for-each": ForEachJob,
    "if": IfJob,
    "switch": SwitchJob,
    "random-router": RandomJob,
    "delay": DelayJob,
}
JOB_KEYS = frozenset(key for model in JOBS.values() for key in model.model_fields)


class Workflow(SpecModel):
    id: Id | None = None
    title: str | None = None
    description: str | None = None
    default: bool = False
    output: Template = None


DOCUMENT_KEYS = ("controller", "component", "components", "workflow", "workflows")
