"""The fields of HTTP calls as documents write them, and their mistakes; shared by the component types that make such calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from deployments.upstream.bodies import Scalar, body_mistake, content_type_of, spell
from deployments.upstream.decoding import AnswerFormat, StreamFormat
from deployments.upstream.hosts import host_pattern
from deployments.upstream.request import Request, build_request, header_mistakes, merge_headers, path_mistake, web_url
from deployments.upstream.uploads import Upload, sendable
from graphs.component import ActionInput, ComponentConfig, Streamable, upper_case
from graphs.units import Duration, Size, Timeout, seconds


def _written(value: Any) -> Any:
    """Return the text that YAML took for a number or a boolean."""
    if isinstance(value, dict | list | bytes):
        raise ValueError("expected text, a number or a boolean here; put it in quotes")
    return spell(value) if isinstance(value, bool | int | float) else value


def _parameter(value: Any) -> Any:
    if isinstance(value, dict | bytes):
        raise ValueError("expected a parameter to be text, a number, a boolean or a list of them; put it in quotes")
    return value


Method = Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], BeforeValidator(upper_case)]
Written = Annotated[str, BeforeValidator(_written, json_schema_input_type=str | float | bool)]
"""Text that YAML may have taken for a number or a boolean."""
Headers = dict[str, Annotated[str | None, BeforeValidator(_written, json_schema_input_type=Scalar)]]
Parameters = dict[str, Annotated[Any, BeforeValidator(_parameter)]]
Url = Annotated[str, AfterValidator(web_url)]


class CallerConfig(ComponentConfig):
    """The fields that all calls of a component share."""

    headers: Headers = Field(default={}, description="Sent with every call; an action's own headers go over them.")
    timeout: Timeout = Field(
        default=60.0, description="The longest wait for a connection, and for each next byte; not for the whole answer."
    )
    max_retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0,
        description="How often a call is tried again: after a lost connection, a timeout, 408, 429 and 5xx, "
        "and only before its first chunk.",
    )
    retry_delay: Duration = Field(default=1.0, description="The pause before the first retry; it doubles with each.")


class CallInput(ActionInput):
    """One call."""

    path: str | None = Field(default=None, description="What to call, under the component's base URL.")
    method: Method = "POST"
    headers: Headers = Field(default={}, description="A null takes one of the component's headers away.")
    params: Parameters | None = Field(default=None, description="The query; null ones are left out.")
    body: Streamable[Any] = Field(
        default=None,
        description="JSON, or what the Content-Type header says: a form, multipart/form-data, text, bytes. "
        "A stream of text or bytes is sent as it comes.",
    )
    stream_format: StreamFormat | None = Field(
        default=None,
        description="json: each event or line, parsed. text: the answer as text. Unset: JSON and plain text come "
        "whole, anything else as raw bytes.",
    )
    chunk_size: Size = Field(default=65536, ge=1, description="The most bytes in a raw chunk.")
    complete: bool | None = Field(
        default=None,
        description="Whether a stream without its end mark fails the call. Unset: one in OpenAI's or Anthropic's protocol "
        "does, read as json. true: any does. false: none does.",
    )

    def answer_format(self) -> AnswerFormat:
        """Return how the answer is to be read."""
        return AnswerFormat(self.stream_format, self.chunk_size, self.complete)


def _as_upstream(value: Any) -> Any:
    return {"base_url": value} if isinstance(value, str) else value


class UpstreamFields(ComponentConfig):
    """One of several upstreams for the same calls."""

    base_url: Url = Field(description="What the paths of the actions are put under.")
    headers: Headers = Field(default={}, description="Sent to this upstream alone, over the component's.")


class RateLimit(ComponentConfig):
    """How often an API may be called."""

    requests: Annotated[int, Field(ge=1, le=100_000)] = Field(description="The most calls that begin…")
    per: Timeout = Field(default=1.0, description="…in any span of this length; later calls wait their turn.")


Upstreams = Annotated[
    list[Annotated[UpstreamFields, BeforeValidator(_as_upstream, json_schema_input_type=UpstreamFields | str)]],
    Field(min_length=1),
]
HostPattern = Annotated[str, AfterValidator(host_pattern)]


async def requests_for(targets: Sequence[tuple[str, Mapping[str, Scalar]]], call: CallInput | Polling) -> list[Request]:
    """Return one call's request to each of its targets, given as a URL and its headers.

    The requests share one body, because a stream can be read only once.
    """
    headers = [merge_headers(of_target, call.headers) for _, of_target in targets]
    body = await sendable(call.body, content_type_of(headers[0]))
    try:
        return [
            build_request(call.method, url, merged, call.params, body)
            for (url, _), merged in zip(targets, headers, strict=True)
        ]
    except BaseException:
        if isinstance(body, Upload):
            await body.aclose()
        raise


def _states(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


State = str | bool | int
States = Annotated[list[State], BeforeValidator(_states, json_schema_input_type=State | list[State])]


class Polling(ActionInput):
    """How to learn that a job that the call has started is done."""

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
    interval: Timeout = Field(
        default=2.0, description="The pause before each question; a longer Retry-After is waited for."
    )
    timeout: Timeout = Field(default=600.0, description="The longest wait for the job to be done.")


class Completion(Polling):
    """The same, for a component that may also ask at another URL."""

    endpoint: str | None = Field(default=None, description="A full URL, instead of path.")


def where_mistake(written: Mapping[str, Any], has_base: bool, neither: str) -> tuple[str, str] | None:
    """Return (field, message) for a wrong `path` or `endpoint`; `neither` is the message if both are missing."""
    path, endpoint = written.get("path"), written.get("endpoint")
    if path is not None and endpoint is not None:
        return "endpoint", "'path' and 'endpoint' exclude each other; keep one of them"
    if path is None and endpoint is None:
        return "path", neither
    if path is not None and not has_base:
        return "path", "a path needs a base_url; write `base_url: https://…` on the component"
    return None


def check_call(config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (field, message) for what can never be sent."""
    if message := path_mistake(action.get("path")):
        yield "path", message
    written = [each for each in (config.get("headers"), action.get("headers")) if isinstance(each, Mapping)]
    for each in written:
        yield from header_mistakes(each)
    types = [content_type_of(cast("Mapping[str, Any]", each)) for each in written]
    kind = next((kind for kind in reversed(types) if kind is not None), None)
    if isinstance(kind, str) and (message := body_mistake(action.get("body"), kind)):
        yield "body", message
    if action.get("complete") is True and action.get("stream_format") is None:
        yield "complete", "only a stream that is read has an end mark; write `stream_format: json`"


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
    yield from header_mistakes(written.get("headers"), "completion.headers")
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
