"""The ways to ask a server for the same words: the doors of the vendors' APIs, and `/workflows/runs` beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.systems import RUN, Server, System
from bench.upstream import CHAT, DEV, LITELLM, MESSAGES, PLACED, RUNS, UPSTREAM, anabranch
from bench.wire import MARK


@dataclass(frozen=True)
class Way:
    """A path, what is sent there beside the load's `input`, and what stands once in every chunk of the answer."""

    key: str
    title: str
    path: str
    envelope: Mapping[str, Any] = field(hash=False)
    mark: bytes = MARK
    whole: Mapping[str, Any] | None = field(default=None, hash=False)
    """What is sent for an answer that comes when all is there; None where that isn't measured."""

    def of(self, server: Server) -> Server:
        """Return the server, asked in this way."""
        system = replace(server.system, path=self.path, envelope=dict(self.envelope), mark=self.mark)
        return replace(server, system=system)


def _own(system: System) -> Way:
    """Return the way that a system is asked in by itself."""
    whole = {**system.envelope, "messages": MESSAGES, "stream": False}
    return Way(system.key, "", system.path, system.envelope, system.mark, whole)


_SAID = b'"delta": {"content": '
"""The role comes before the words, and the finish reason after them."""

PLAIN = Way("runs", "`/workflows/runs`", RUNS, RUN, whole={**RUN, "workflow_id": "whole"})
TEXT = Way(
    "chat",
    "`/v1/chat/completions`",
    CHAT,
    {"model": "words", "stream": True, "messages": MESSAGES},
    _SAID,
    whole={"model": "whole", "messages": MESSAGES},
)
DELTAS = Way("deltas", "the same, of OpenAI's deltas", CHAT, {**TEXT.envelope, "model": "deltas"}, _SAID)
ANTHROPIC = Way(
    "messages",
    "`/v1/messages`",
    "/v1/messages",
    {"model": "words", "stream": True, "messages": MESSAGES, "max_tokens": 1024},
    b"event: content_block_delta",
    whole={"model": "whole", "messages": MESSAGES, "max_tokens": 1024},
)

DOORS = (TEXT, DELTAS, ANTHROPIC)
IN_ONE_PROCESS = replace(DEV, command=anabranch("dev", "doors.yaml"))
ON_SERVE = replace(PLACED, command=anabranch("serve", "doors.yaml", "in_the_ingress.yaml"))
WAYS: Mapping[System, tuple[Way, ...]] = {
    UPSTREAM: (_own(UPSTREAM),),
    IN_ONE_PROCESS: (PLAIN, *DOORS),
    ON_SERVE: (PLAIN, *DOORS),
    LITELLM: (_own(LITELLM),),
}
