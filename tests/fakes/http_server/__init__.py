"""A real HTTP server for tests and the bench: it answers as it is told, and remembers who called, who left, and when."""

from tests.fakes.http_server.answers import (
    Answer,
    HalfClose,
    Hang,
    Pause,
    Raw,
    Reset,
    Step,
    Wait,
    anthropic_events,
    events,
    json_lines,
    openai_events,
)
from tests.fakes.http_server.server import Call, Upstream

__all__ = [
    "Answer", "Call", "HalfClose", "Hang", "Pause", "Raw", "Reset", "Step", "Upstream", "Wait", "anthropic_events", "events",
    "json_lines", "openai_events",
]  # fmt: skip
