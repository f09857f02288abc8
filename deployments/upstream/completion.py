"""The fields of `completion`, which tell how to learn that a job is done, and their mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from deployments.upstream.call_fields import CallInput, Headers, Method, Parameters, Patience, where_mistake
from deployments.upstream.request import header_mistakes, path_mistake
from deployments.upstream.spelling import spell
from graphs.units import seconds


def _states(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


State = str | bool | int
States = Annotated[list[State], BeforeValidator(_states, json_schema_input_type=State | list[State])]


class Polling(BaseModel):
    """How to learn that a job that the call has started is done."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: Literal["polling"] = Field(description="Ask again and again until the job is done.")
    path: str | None = Field(
        default=None, description="The path to ask, under the base URL of the upstream that took the job."
    )
    method: Method = "GET"
    headers: Headers = Field(default={}, description="A null takes one of the component's headers away.")
    params: Parameters | None = Field(default=None, description="The query; null ones are left out.")
    body: Any = Field(default=None, description="As the body of an action.")
    status: str | None = Field(
        default=None,
        description="Where the job's state is in the answer: `status`, `data.state`. Unset: the HTTP status is the state.",
    )
    success_when: States | None = Field(
        default=None,
        description="The states of a job that is done. Unset: completed, succeeded, …, or any 2xx but 202.",
    )
    fail_when: States | None = Field(
        default=None, description="The states of a job that failed. Unset: failed, error, cancelled, …"
    )
    interval: Patience = Field(
        default=2.0, description="The pause before each question; a longer Retry-After is waited for."
    )
    timeout: Patience = Field(default=600.0, description="The longest wait for the job to be done.")

    def call(self) -> CallInput:
        """Return the call that asks for the job once."""
        return CallInput(method=self.method, headers=self.headers, params=self.params, body=self.body)


class Completion(Polling):
    """The same, for a component that may also ask at another URL."""

    endpoint: str | None = Field(default=None, description="A full URL, instead of path.")


def completion_mistakes(action: Mapping[str, Any], has_base: bool) -> Iterator[tuple[str, str]]:
    """Yield (field, message) for what is wrong with the `completion` of an action."""
    completion = action.get("completion")
    if not isinstance(completion, Mapping):
        return
    written = cast("Mapping[str, Any]", completion)
    if action.get("stream_format") is not None:
        yield "stream_format", "the answer of a job comes whole; leave stream_format out"
    if found := where_mistake(written, has_base, "polling needs a path to ask; write `path: /jobs/${response.id}`"):
        yield f"completion.{found[0]}", found[1]
    if message := path_mistake(written.get("path")):
        yield "completion.path", message
    headers = written.get("headers")
    for name, message in header_mistakes(cast("Mapping[str, Any]", headers) if isinstance(headers, Mapping) else {}):
        yield f"completion.headers.{name}", message
    interval = _seconds(written.get("interval"))
    timeout = _seconds(written.get("timeout", Polling.model_fields["timeout"].default))
    if interval is not None and timeout is not None and interval > timeout:
        late = f"the first question would come after {interval:g} s, when the timeout of {timeout:g} s has passed"
        yield "completion.interval", f"{late}; write a shorter interval or a longer timeout"
    done, failed = (texts(written.get(key)) for key in ("success_when", "fail_when"))
    for state in sorted(done & failed):
        yield "completion.fail_when", f"{state!r} can't mean both success and failure; keep it in one of the lists"


def _seconds(written: Any) -> float | None:
    """Return a duration in seconds; None if it is a binding, missing, or wrong."""
    try:
        amount = seconds(written)
    except ValueError:
        return None
    return float(amount) if isinstance(amount, int | float) else None


def texts(written: Any) -> set[str]:
    """Return states as they are compared: as text, in lower case."""
    each: Sequence[Any] = cast("list[Any]", written) if isinstance(written, list) else [written]
    return {spell(state).casefold() for state in each if isinstance(state, str | int)}
