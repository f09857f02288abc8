"""How a call fails: the error that is reported, and whether another try, or another upstream, could help."""

from __future__ import annotations

from dataclasses import dataclass

from graphs.errors import AnabranchError

RETRIED = frozenset({408, 429})
"""Error statuses worth another try, beside every 5xx."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error, and what could help against it."""

    error: AnabranchError
    transient: bool
    """Whether another try at the same upstream could succeed."""
    retry_after: float | None = None
    elsewhere: bool = False
    """Whether only another upstream could help: the TLS or the HTTP of this one is broken."""
    answered: bool = False
    """Whether the upstream gave an answer, which shows that it is up."""


class CallFailed(Exception):
    """Raised when a call fails: in the transport, at a redirect, or while its answer is read."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error.message)
        self.failure = failure


def is_transient(status: int) -> bool:
    return status in RETRIED or status >= 500
