"""Whatever aiohttp raises becomes an error of ours, and whether trying again could help."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from deployments.upstream.guard import Refused
from graphs.errors import AnabranchError, InvalidInput, TimedOut, UpstreamFailed

RETRIED = frozenset({408, 429})
"""Error statuses worth another try, beside every 5xx."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to tell, and whether it may pass by itself."""

    error: AnabranchError
    transient: bool
    retry_after: float | None = None


class Failed(Exception):
    """Raised where a call fails: by a transport, a redirect, or what is read of the answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error.message)
        self.failure = failure


def is_transient(status: int) -> bool:
    return status in RETRIED or status >= 500


def connection_failure(error: Exception, timeout: float, answered: bool) -> Failure:
    """Say what went wrong with a connection. `answered`: the headers had already come.

    Only types and the system's own words are used: aiohttp's messages hold the whole URL, with its query.
    """
    match error:
        case Refused():
            return refused(error)
        case aiohttp.ConnectionTimeoutError():
            return Failure(TimedOut(f"no connection within {timeout:g} s (timeout: {timeout:g})"), True)
        case asyncio.TimeoutError():
            silent = "went silent" if answered else "sent no answer"
            return Failure(TimedOut(f"{silent} for {timeout:g} s (timeout: {timeout:g})"), True)
        case aiohttp.ClientConnectorError():
            return _not_connected(error)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Failure(InvalidInput("expected a valid http(s) URL", field="endpoint"), False)
        case aiohttp.ClientHttpProxyError():
            return Failure(UpstreamFailed("the proxy named by the environment refused to connect"), False)
        case aiohttp.ClientResponseError():
            return Failure(UpstreamFailed("the answer is not valid HTTP"), False)
        case aiohttp.ClientPayloadError():
            return Failure(UpstreamFailed("the answer broke off in the middle"), True)
        case _ if answered:
            return Failure(UpstreamFailed("the connection was lost in the middle of the answer"), True)
        case _:
            return Failure(UpstreamFailed("the connection was closed before an answer came"), True)


def refused(error: Refused) -> Failure:
    """Say that a URL leads where requests may not lead."""
    why = "it is not listed" if error.listed else "its address is private"
    words = f"{error.host!r} may not be called at a request's word: {why}; to allow it, list it in allow_hosts"
    return Failure(InvalidInput(words, field="endpoint"), False)


def _not_connected(error: aiohttp.ClientConnectorError) -> Failure:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "it can't be verified"
            return Failure(UpstreamFailed(f"its TLS certificate is not trusted: {reason}"), False)
        case aiohttp.ClientSSLError():
            return Failure(UpstreamFailed("the TLS handshake failed; does it speak https on this port?"), False)
        case aiohttp.ClientConnectorDNSError() if isinstance(error.os_error, Refused):
            return refused(error.os_error)
        case aiohttp.ClientConnectorDNSError():
            return Failure(UpstreamFailed(f"the name {error.host!r} can't be resolved"), True)
        case aiohttp.ClientProxyConnectionError():
            return Failure(UpstreamFailed("the proxy named by the environment can't be reached"), True)
        case _:
            words = (error.os_error.strerror or type(error.os_error).__name__).lower()
            return Failure(UpstreamFailed(f"can't connect: {words}"), True)
