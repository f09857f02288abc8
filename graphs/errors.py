"""The tree of errors: what each is called, and which HTTP status it earns. docs/http-api.md says when each comes.

Errors cross process borders as data: `error.to_wire()` on one side, `from_wire(data)` on the other. An error of a type that
the other side doesn't know, as a plug-in's own, keeps its type and status there; its class is the nearest that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

ErrorData = dict[str, object]

RETRY_AFTER = 1
"""Seconds after which a client may try again where a queue was full."""


class WireError(TypedDict):
    """An error as it crosses to another process: all JSON."""

    error: ErrorData
    """What the API shows of it."""
    status: int
    types: list[str]
    """Its type, then those of the classes that its class extends."""


class AnabranchError(Exception):
    """An error whose message is meant for the person who caused it."""

    type: str = "internal_error"
    status: int = 500

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, object] = details

    def __reduce__(self) -> tuple[object, ...]:
        return (from_wire, (self.to_wire(),))

    def to_data(self) -> ErrorData:
        """Return what the API shows: type, message and details, all JSON."""
        return {"type": self.type, "message": self.message, **self.details}

    def to_wire(self) -> WireError:
        """Return what another process needs to rebuild the error."""
        types = [cls.type for cls in type(self).__mro__ if issubclass(cls, AnabranchError)]
        return {"error": self.to_data(), "status": self.status, "types": [self.type, *types]}

    def saying(self, message: str, details: Mapping[str, object]) -> AnabranchError:
        """Return an error of the same type and status with another message and other details."""
        return from_wire({**self.to_wire(), "error": {**details, "type": self.type, "message": message}})

    def at(self, where: str, **details: object) -> AnabranchError:
        """Return the same error, its message led by where it happened; details already known win."""
        return self.saying(f"{where}: {self.message}", {**details, **self.details})


class BadRequest(AnabranchError):
    type = "bad_request"
    status = 400


class Unauthorized(AnabranchError):
    type = "unauthorized"
    status = 401


class Forbidden(AnabranchError):
    type = "forbidden"
    status = 403


class NotFound(AnabranchError):
    type = "not_found"
    status = 404


class Conflict(AnabranchError):
    type = "conflict"
    status = 409


class TooLarge(AnabranchError):
    type = "too_large"
    status = 413


class UnsupportedMediaType(AnabranchError):
    type = "unsupported_media_type"
    status = 415


class InvalidInput(AnabranchError):
    """Input of the wrong shape; `field` in the details names it."""

    type = "invalid_input"
    status = 422


class BindingFailed(InvalidInput):
    type = "binding_failed"


class NoResult(InvalidInput):
    type = "no_result"


class RateLimited(AnabranchError):
    type = "rate_limited"
    status = 429


class Cancelled(AnabranchError):
    type = "cancelled"
    status = 499


class ComponentFailed(AnabranchError):
    type = "component_failed"
    status = 502


class UpstreamFailed(ComponentFailed):
    """An upstream's refusal; `upstream: {status, body}` in the details when it answered."""

    type = "upstream_failed"


class Unavailable(AnabranchError):
    type = "unavailable"
    status = 503


class Overloaded(Unavailable):
    """A full queue; `retry_after` (seconds) in the details becomes the Retry-After header."""

    type = "overloaded"


class RunLost(Unavailable):
    """The server that ran a kept run ended before the run did."""

    type = "lost"


class TimedOut(AnabranchError):
    type = "timed_out"
    status = 504


def from_wire(data: WireError) -> AnabranchError:
    """Rebuild the error that `to_wire` described."""
    known = _by_type(AnabranchError)
    cls = next((known[type] for type in data["types"] if type in known), AnabranchError)
    said = data["error"]
    details = {key: value for key, value in said.items() if key not in ("type", "message")}
    error = cls(str(said["message"]), **details)
    error.type, error.status = str(said["type"]), data["status"]
    return error


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message that isn't blank; the name of its class where there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def _by_type(cls: type[AnabranchError]) -> dict[str, type[AnabranchError]]:
    """Return the classes from this one down; of several with one type, the first."""
    # A class with an `__init__` of its own takes something else than a message and details.
    known = {cls.type: cls} if cls.__init__ is AnabranchError.__init__ else {}
    for child in cls.__subclasses__():
        known = _by_type(child) | known
    return known
