"""The public names for authors of component types: `from anabranch import Component, Whole, …`.

The contract they meet is described in `graphs/component.py`, and with an example in docs/components.md.
"""

from graphs.component import (
    ActionInput,
    Chunk,
    Component,
    ComponentConfig,
    Later,
    LocalFolder,
    Note,
    Setup,
    Stream,
    Streamable,
    Traced,
    Truth,
    Unknown,
    Value,
    Waiting,
    Whole,
)
from graphs.errors import (
    AnabranchError,
    BadRequest,
    BindingFailed,
    Cancelled,
    ComponentFailed,
    Conflict,
    Forbidden,
    InvalidInput,
    NoResult,
    NotFound,
    Overloaded,
    RateLimited,
    RunLost,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UpstreamFailed,
)

__all__ = [
    "ActionInput", "AnabranchError", "BadRequest", "BindingFailed", "Cancelled", "Chunk", "Component", "ComponentConfig",
    "ComponentFailed", "Conflict", "Forbidden", "InvalidInput", "Later", "LocalFolder", "NoResult", "NotFound", "Note",
    "Overloaded", "RateLimited", "RunLost", "Setup", "Stream", "Streamable", "TimedOut", "TooLarge", "Traced", "Truth", "Unauthorized",
    "Unavailable", "Unknown", "UnsupportedMediaType", "UpstreamFailed", "Value", "Waiting", "Whole",
]  # fmt: skip
