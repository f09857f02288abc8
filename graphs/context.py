"""The run that a call belongs to. Every message carries it whole; `${run.…}` and `${session.…}` read it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphs.stream import Value


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every part of a run knows of it."""

    id: str
    workflow: str
    session_id: str | None = None
    deadline: float | None = None
    """When the run must have ended, on the clock of this process's event loop; None for no limit."""
    session_messages: list[Value] | None = None
    """What was said in the session so far, up to what this run answers; None where no workflow reads it."""

    def names(self) -> dict[str, Value]:
        """Return what bindings see of the run."""
        session: Value = {"id": self.session_id, "messages": self.session_messages}
        return {"run": {"id": self.id, "workflow": self.workflow}, "session": session}

    def since(self, now: float) -> RunContext:
        """Return the context with its deadline counted from `now`, to be sent: each process has a clock of its own."""
        return self if self.deadline is None else replace(self, deadline=self.deadline - now)

    def at(self, now: float) -> RunContext:
        """Return a context that was sent by `since`, with its deadline on this loop's clock again."""
        return self if self.deadline is None else replace(self, deadline=self.deadline + now)
