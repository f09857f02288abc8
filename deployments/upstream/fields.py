"""The fields of an HTTP call as documents write them, shared by the component types that make one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from deployments.upstream.decoding import StreamFormat
from deployments.upstream.request import Scalar, header_mistakes, spell, web_url
from graphs.component import ActionInput, ComponentConfig
from graphs.units import Duration, Size


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _written(value: Any) -> Any:
    """Take a number or a boolean as the text it is written as."""
    if isinstance(value, dict | list | bytes):
        raise ValueError("expected text, a number or a boolean here; put it in quotes")
    return spell(value) if isinstance(value, bool | int | float) else value


def _parameter(value: Any) -> Any:
    if isinstance(value, dict | bytes):
        raise ValueError("expected a parameter to be text, a number, a boolean or a list of them; put it in quotes")
    return value


Method = Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], BeforeValidator(_upper)]
Written = Annotated[str, BeforeValidator(_written, json_schema_input_type=str | float | bool)]
"""Text that YAML may have taken for a number or a boolean."""
Headers = dict[str, Annotated[str | None, BeforeValidator(_written, json_schema_input_type=Scalar)]]
Parameters = dict[str, Annotated[Any, BeforeValidator(_parameter)]]
Url = Annotated[str, AfterValidator(web_url)]
Patience = Annotated[Duration, Field(gt=0)]
Retries = Annotated[int, Field(ge=0, le=100)]
ChunkSize = Annotated[Size, Field(ge=1)]


class CallerConfig(ComponentConfig):
    """What every call of a component shares."""

    headers: Headers = Field(default={}, description="Sent with every call; an action's own headers go over them.")
    timeout: Patience = Field(
        default=60.0,
        description="The longest wait for a connection, and for every next byte; not for the whole answer.",
    )
    max_retries: Retries = Field(
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
    body: Any = Field(default=None, description="JSON, or what the Content-Type header says: a form, text, bytes.")
    stream_format: StreamFormat | None = Field(
        default=None,
        description="json: each event or line, parsed. text: the answer as text. Unset: JSON and plain text come "
        "whole, anything else as raw bytes.",
    )
    chunk_size: ChunkSize = Field(default=65536, description="The most bytes in a raw chunk.")


def check_headers(config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (field, message) for headers that could never be sent."""
    for headers in (config.get("headers"), action.get("headers")):
        if isinstance(headers, Mapping):
            for name, message in header_mistakes(cast("Mapping[str, Any]", headers)):
                yield f"headers.{name}", message
