"""What aiohttp raises becomes a Failure: an error in plain words, and whether another try could help."""

from __future__ import annotations

import errno
import os
import re
import ssl

import aiohttp

from deployments.upstream.guard import HostRefused
from deployments.upstream.upstream_errors import Failure
from graphs.errors import InvalidInput, TimedOut, UpstreamFailed

_TELLING = (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""If several addresses of a host fail, the first of these errors is reported."""
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def connection_failure(error: Exception, timeout: float, answered: bool) -> Failure:
    """Return the Failure for an exception of a connection. `answered`: the headers had already come.

    aiohttp's messages hold the whole URL with its query, so only types and the system's own words are used.
    """
    match error:
        case HostRefused():
            return refused(error)
        case TimeoutError():
            silent = "went silent for" if answered else "sent no answer for"
            words = "no connection within" if isinstance(error, aiohttp.ConnectionTimeoutError) else silent
            return Failure(TimedOut(f"{words} {timeout:g} s (timeout: {timeout:g})"), True)
        case aiohttp.ClientConnectorError():
            return _not_connected(error)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Failure(InvalidInput("expected a valid http(s) URL", field="endpoint"), False)
        case aiohttp.ClientHttpProxyError():
            return _broken("the proxy named by the environment refused to connect")
        case aiohttp.ClientResponseError():
            return _broken("the answer is not valid HTTP")
        case aiohttp.ClientPayloadError():
            return Failure(UpstreamFailed("the answer broke off in the middle"), True)
        case _ if answered:
            return Failure(UpstreamFailed("the connection was lost in the middle of the answer"), True)
        case _:
            return Failure(UpstreamFailed("the connection was closed before an answer came"), True)


def refused(error: HostRefused) -> Failure:
    """Return the Failure for a URL that a client's request may not use."""
    why = "it is not listed" if error.listed else "its address is private"
    words = f"a request may not lead to {error.host!r}: {why}; to allow it, list it in allow_hosts"
    return Failure(InvalidInput(words, field="endpoint"), False)


def _broken(words: str) -> Failure:
    return Failure(UpstreamFailed(words), transient=False, elsewhere=True)


def _not_connected(error: aiohttp.ClientConnectorError) -> Failure:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
            reason = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else "it can't be verified"
            return _broken(f"its TLS certificate is not trusted: {reason}")
        case aiohttp.ClientSSLError():
            return _broken("the TLS handshake failed; does it speak https on this port?")
        case aiohttp.ClientConnectorDNSError() if isinstance(error.os_error, HostRefused):
            return refused(error.os_error)
        case aiohttp.ClientConnectorDNSError():
            return Failure(UpstreamFailed(f"the name {error.host!r} can't be resolved"), True)
        case aiohttp.ClientProxyConnectionError():
            return Failure(UpstreamFailed("the proxy named by the environment can't be reached"), True)
        case _:
            return Failure(UpstreamFailed(f"can't connect: {_why(error.os_error)}"), True)


def _why(error: OSError) -> str:
    """Return the system's words: asyncio's own hold addresses, and join those of several attempts."""
    numbers = [error.errno] if error.errno else [int(number) for number in _ERRNO.findall(str(error))]
    number = next((each for each in _TELLING if each in numbers), numbers[0] if numbers else None)
    return "it failed" if number is None else os.strerror(number).lower()
