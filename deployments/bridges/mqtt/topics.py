"""A project -> the topics of its questions, answers, errors and status; the topics that a client may choose."""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphs.errors import InvalidInput

NOT_IN_A_LEVEL = re.compile(r"[/+#\x00-\x1f\x7f\ud800-\udfff]")
"""What the name of a topic's level can't hold, or had better not."""
NOT_IN_A_TOPIC = re.compile(r"[+#\x00-\x1f\x7f\ud800-\udfff]")
LONGEST = 1024
"""Bytes of a topic that a client chooses."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a project."""

    project: str

    @property
    def questions(self) -> str:
        return f"{self.project}/user_input"

    @property
    def status(self) -> str:
        """Holds `online` or `offline`."""
        return f"{self.project}/status"

    @property
    def errors(self) -> str:
        """For errors of messages that don't say where their answer goes."""
        return f"{self.project}/error"

    def answers(self, session: str | None = None) -> str:
        """Return the branch of a session's answers; without one, of all."""
        return f"{self.project}/assistant_response" + (f"/{session}" if session is not None else "")

    def answer(self, session: str, client: str | None, request: str | None) -> str:
        """Return where an answer goes if its question says nothing else."""
        branch = self.answers(session)
        return branch if client is None or request is None else f"{branch}/{client}/{request}"

    def chosen(self, topic: str, session: str | None, field: str) -> str:
        """Return a topic that a client wants its answer on; refuse it outside the branch of its session."""
        branch = self.answers(session)
        if NOT_IN_A_TOPIC.search(topic):
            raise InvalidInput(
                f"{field}: expected the name of one topic, without '+', '#' and control characters; write {branch}/…",
                field=field,
            )
        inside = topic.startswith(f"{branch}/") or (session is not None and topic == branch)
        if not inside or len(topic.encode("utf-8", "replace")) > LONGEST:
            raise InvalidInput(f"{field}: expected a topic under '{branch}', got '{topic[:80]}'", field=field)
        return topic


def level(name: str) -> str:
    """Return an id that is a level of a topic; raise ValueError where it can't be one."""
    if not name or name.startswith("$") or NOT_IN_A_LEVEL.search(name):
        raise ValueError("it is a level of a topic: expected text without '/', '+', '#' and control characters")
    return name
