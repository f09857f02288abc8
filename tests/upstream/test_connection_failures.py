"""What aiohttp raises is told in plain words; nothing of the URL's query, and no class name, gets through."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from deployments.upstream.connection_failures import connection_failure
from deployments.upstream.reading import is_transient
from graphs.errors import InvalidInput, TimedOut, UpstreamFailed

KEY = ConnectionKey("api.example.com", 443, True, True, None, None, None)


def told(error: Exception, answered: bool = False):
    return connection_failure(error, 30.0, answered)


@pytest.mark.parametrize(
    ("error", "type_", "words", "transient"),
    [
        (aiohttp.ConnectionTimeoutError(), TimedOut, "no connection within 30 s", True),
        (aiohttp.SocketTimeoutError(), TimedOut, "sent no answer for 30 s", True),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "?")), UpstreamFailed, "'api.example.com' can't be", True),
        (aiohttp.ClientProxyConnectionError(KEY, OSError(1, "no")), UpstreamFailed, "the proxy named by", True),
        (aiohttp.ClientConnectorError(KEY, OSError(101, "Network is unreachable")), UpstreamFailed, "network is", True),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "Connect call failed ('::1', 1)")), UpstreamFailed, "ion refused", True),
        (aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions: [Errno 99] no, [Errno 111] no")),
         UpstreamFailed, "can't connect: connection refused", True),
        (aiohttp.ClientConnectorError(KEY, OSError("?key=secret")), UpstreamFailed, "can't connect: it failed", True),
        (aiohttp.ClientConnectorSSLError(KEY, OSError(1, "no")), UpstreamFailed, "the TLS handshake failed", False),
        (aiohttp.InvalidURL("http://x?key=secret"), InvalidInput, "a valid http(s) URL", False),
        (aiohttp.ServerDisconnectedError(), UpstreamFailed, "closed before an answer came", True),
        (ConnectionResetError(104, "reset"), UpstreamFailed, "closed before an answer came", True),
        (aiohttp.ClientPayloadError("?key=secret"), UpstreamFailed, "broke off in the middle", True),
    ],
)  # fmt: skip
def test_each_way_a_connection_fails_has_its_own_words(error: Exception, type_: type, words: str, transient: bool):
    failure = told(error)
    assert type(failure.error) is type_
    assert words in failure.error.message
    assert "secret" not in failure.error.message
    assert failure.transient is transient


def test_a_certificate_that_is_not_trusted_says_why_and_is_not_tried_again():
    cause = ssl.SSLCertVerificationError()
    cause.verify_message = "self-signed certificate"
    failure = told(aiohttp.ClientConnectorCertificateError(KEY, cause))
    assert failure.error.message == "its TLS certificate is not trusted: self-signed certificate"
    assert not failure.transient
    assert failure.elsewhere


def test_an_answer_that_is_not_http_is_told_without_the_url():
    info: Any = aiohttp.RequestInfo(URL("http://x?key=secret"), "GET", {}, URL("http://x"))  # pyright: ignore[reportArgumentType]
    failure = told(aiohttp.ClientResponseError(info, (), message="bad"))
    assert failure.error.message == "the answer is not valid HTTP"
    assert failure.elsewhere


@pytest.mark.parametrize(
    ("status", "passes"), [(400, False), (404, False), (408, True), (429, True), (500, True), (599, True)]
)
def test_only_408_429_and_5xx_pass_by_themselves(status: int, passes: bool):
    assert is_transient(status) is passes
