"""The keys of jobs, type by type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from graphs.document.field_types import Amount, Attempts, Factor, Id, Positive, SpecModel, Template, listed
from graphs.units import Duration, Timeout


class Retry(SpecModel):
    """How often a failed job is tried, and the pauses between."""

    max_attempts: Attempts
    delay: Duration = 0.0
    backoff: Factor = 1.0
    max_delay: Duration = 60.0

    @model_validator(mode="after")
    def _paused(self) -> Retry:
        if self.backoff > 1 and "delay" not in self.model_fields_set:
            raise ValueError("backoff multiplies the delay, and there is no delay; write `delay: 1s` beside it")
        return self


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
    depends_on: Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])] = Field(
        default_factory=list[str]
    )
    condition: Template = None
    retry: Annotated[Retry, BeforeValidator(_attempts, json_schema_input_type=int | Retry)] = Field(
        default_factory=lambda: Retry(max_attempts=1)
    )
    on_error: OnError | None = None
    timeout: Timeout | None = None


class GivingJob(JobBase):
    """A job that has an output; routers have none."""

    output: Template = None


class CallJob(GivingJob, defer_build=False):
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
    max_concurrent_count: Positive = 8
    streaming: Template = None


class Condition(SpecModel):
    condition: Template
    if_true: str


class IfJob(JobBase):
    """Chooses the job that runs next by conditions."""

    type: Literal["if"]
    if_true: str | None = None
    if_false: str | None = None
    conditions: list[Condition] = Field(default_factory=list[Condition])
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
    weight: Amount | None = None


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
            example = "time: 2030-01-31T09:00:00" if self.mode == "specific-time" else "duration: 5s"
            raise ValueError(f"a delay takes exactly one of duration and time; write `{example}`")
        given, mode = ("duration", "time-interval") if self.time is None else ("time", "specific-time")
        if self.mode not in (None, mode):
            other = "time" if given == "duration" else "duration"
            raise ValueError(
                f"mode {self.mode} needs a {other}, and this delay has a {given}; write `mode: {mode}`, or leave it out"
            )
        if self.timezone is not None and given == "duration":
            raise ValueError("timezone belongs to a time, and this delay has a duration; remove it")
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
