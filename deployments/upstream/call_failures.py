"""How a call fails: the error that is reported, and whether another try, or another upstream, could help."""

from __future__ import annotations

from dataclasses import dataclass

from graphs.errors import AnabranchError

RETRIED = frozenset({408, 429})
"""Error statuses worth another try, beside every 5xx."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to tell, and what could help against it."""

    error: AnabranchError
    transient: bool
    """Whether it may pass by itself, so that the same upstream is worth another try."""
    retry_after: float | None = None
    elsewhere: bool = False
    """Whether another upstream could help where this one can't: its TLS or its HTTP is broken."""
    answered: bool = False
    """Whether it is an answer with a status: who gives one is well."""


class CallFailed(Exception):
    """Raised where a call fails: by a transport, a redirect, or what is read of the answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error.message)
        self.failure = failure


def is_transient(status: int) -> bool:
    return status in RETRIED or status >= 500
