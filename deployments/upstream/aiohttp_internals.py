"""What is used of aiohttp beyond its documentation: checked when this is imported, and used nowhere else."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler

_NEEDED = (
    (aiohttp.StreamReader, "_read_nowait"),
    # Public, but read by aiohttp only where a payload of our own overrides them; without that an upload could be sent twice.
    (aiohttp.Payload, "size"),
    (aiohttp.Payload, "consumed"),
    (aiohttp.Payload, "autoclose"),
    (AbstractStreamWriter, "transport"),
    (ResponseHandler, "_on_read_timeout"),
    (ResponseHandler, "read_timeout"),
    (ResponseHandler, "start_timeout"),
)


def check() -> None:
    """Raise ImportError if the installed aiohttp lacks anything of this."""
    # getattr: absence is what this looks for.
    missing = [f"{owner.__name__}.{name}" for owner, name in _NEEDED if not hasattr(owner, name)]
    if missing:
        raise ImportError(
            f"aiohttp {aiohttp.__version__} has no {', '.join(missing)}; install a version that pyproject.toml allows"
        )


def buffered(content: aiohttp.StreamReader) -> bytes:
    """Take what has come of a body whose connection then failed: every public method raises the failure first."""
    return content._read_nowait(-1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


class Silence:
    """Fails an answer when a read has waited for `timeout` seconds.

    aiohttp sets its own timer anew for each packet, which costs more than everything else that it does with one. This timer
    looks when the wait began. What it does then is aiohttp's own.
    """

    def __init__(self, response: aiohttp.ClientResponse, timeout: float) -> None:
        self.since: float | None = None
        """When the read began that waits now."""
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        connection = response.connection
        if connection is not None and (protocol := connection.protocol) is not None:
            protocol.read_timeout = None  # the next request on the connection sets it again
            protocol.start_timeout()  # which cancels the timer, now that there is no timeout
            self._protocol = protocol
            self._timer = self._loop.call_later(timeout, self._look)

    def cancel(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        waited = 0.0 if self.since is None else self._loop.time() - self.since
        if waited >= self._timeout:
            self._protocol._on_read_timeout()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        else:
            self._timer = self._loop.call_later(self._timeout - waited, self._look)


check()
