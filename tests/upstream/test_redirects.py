"""Where a redirect leads, what it takes along, and what it must not."""

from __future__ import annotations

import pytest

from deployments.upstream.exchange import redirected
from deployments.upstream.request import Request, build_request
from graphs.errors import UpstreamFailed

SECRETS = {"Authorization": "Bearer s", "X-Api-Key": "s", "Cookie": "s", "Api-Key": "s", "Proxy-Authorization": "s"}
HARMLESS = {"Accept": "a/b", "content-type": "application/json", "User-Agent": "u"}


def asked(method: str = "POST", url: str = "https://a.com/v1/chat") -> Request:
    return build_request(method, url, {**SECRETS, **HARMLESS}, None, {"a": 1})


@pytest.mark.parametrize(
    "location",
    [
        "http://a.com/v1/chat",
        "https://a.com:8443/",
        "https://b.com/",
        "//b.com/",
        "https://a.com.evil.com/",
        "https://a.com@evil.com/",
    ],
)
def test_another_origin_gets_no_credentials(location: str):
    moved = redirected(asked(), 307, location)
    assert dict(moved.headers) == HARMLESS
    assert moved.body == b'{"a":1}'


@pytest.mark.parametrize("location", ["/v2", "../v2", "?x=1", "https://a.com/v2", "https://A.com:443/v2", "//a.com/v2"])
def test_the_same_origin_gets_them_all(location: str):
    assert dict(redirected(asked(), 308, location).headers) == {**SECRETS, **HARMLESS}


@pytest.mark.parametrize(
    ("status", "method", "then", "keeps"),
    [
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (303, "POST", "GET", False),
        (303, "PUT", "GET", False),
        (303, "HEAD", "HEAD", True),
        (301, "PUT", "PUT", True),
        (302, "DELETE", "DELETE", True),
        (302, "GET", "GET", True),
        (307, "POST", "POST", True),
        (308, "PATCH", "PATCH", True),
    ],
)
def test_method_and_body_are_what_the_status_says(status: int, method: str, then: str, keeps: bool):
    moved = redirected(asked(method), status, "/new")
    assert moved.method == then
    assert (moved.body is not None) is keeps
    assert ("content-type" in moved.headers) is keeps
    assert moved.where == f"{then} a.com/new"


def test_credentials_in_a_url_stay_on_their_host_and_are_not_taken_from_a_location():
    request = asked(url="https://me:secret@a.com/v1")
    assert redirected(request, 307, "/new").url == "https://me:secret@a.com/new"
    assert redirected(request, 307, "https://you:other@a.com/new").url == "https://me:secret@a.com/new"
    assert redirected(request, 307, "https://you:other@b.com/new").url == "https://b.com/new"


def test_a_location_that_was_not_encoded_is():
    assert redirected(asked(), 307, "/안 녕").url == "https://a.com/%EC%95%88%20%EB%85%95"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("ftp://a.com/", "redirected to a ftp: URL; expected http or https"),
        ("file:///etc/passwd", "redirected to a file: URL"),
        ("javascript:alert(1)", "redirected to a javascript: URL"),
        ("https://evil.com\\@a.com/", "redirected to something that is not a URL"),
        ("http://[", "redirected to something that is not a URL"),
        ("https://a.com:99999/", "redirected to something that is not a URL"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_an_error(location: str, message: str):
    with pytest.raises(UpstreamFailed) as failed:
        redirected(asked(), 302, location)
    assert message in failed.value.message
