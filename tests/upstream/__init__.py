"""A real HTTP server for tests: it answers as it is told, and remembers who called, and who left."""

from tests.upstream.answers import Answer, Hang, Reset, Step, Wait, anthropic_events, events, json_lines, openai_events
from tests.upstream.server import Call, Upstream

__all__ = [
    "Answer", "Call", "Hang", "Reset", "Step", "Upstream", "Wait", "anthropic_events", "events", "json_lines", "openai_events",
]  # fmt: skip
