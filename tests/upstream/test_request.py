"""What an action writes becomes a request that is safe to send, or an error that names the field."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL as Sent

from deployments.upstream.call_fields import check_call
from deployments.upstream.request import Request, build_request, join_url, merge_headers, web_url
from graphs.component import Unknown
from graphs.errors import InvalidInput

URL = "https://api.example.com/v1"


def build(body: Any = None, params: Any = None, url: str = URL, **headers: Any):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return build_request("POST", url, merge_headers(named), params, body)


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://a.com/v1", "/chat", "https://a.com/v1/chat"),
        ("https://a.com/v1/", "chat", "https://a.com/v1/chat"),
        ("https://a.com", "/chat?x=1", "https://a.com/chat?x=1"),
        ("https://a.com/v1?version=2", "/chat?x=1", "https://a.com/v1/chat?version=2&x=1"),
        ("https://a.com", "//evil.com/x", "https://a.com/evil.com/x"),
        ("https://a.com", "@evil.com/x", "https://a.com/@evil.com/x"),
        ("http://a.com:81/v1", "http://evil.com", "http://a.com:81/v1/http://evil.com"),
        ("https://a.com/v1#old", "/x", "https://a.com/v1/x"),
        ("https://a.com", "/languages/C#?q=F#", "https://a.com/languages/C%23?q=F%23"),
        ("https://a.com", "/a\tb\r\nc\x7f?q=\n", "https://a.com/a%09b%0D%0Ac%7F?q=%0A"),
    ],
)
def test_a_path_always_stands_under_its_base_url(base: str, path: str, url: str):
    assert join_url(base, path) == url


@pytest.mark.parametrize(
    "text",
    [
        "api.example.com",
        "ftp://a.com",
        "http://",
        "https://a.com:x",
        "https://a b.com",
        "http://a.com\r\n",
        "//a",
        "http://a.com/\x01",
    ],
)
def test_a_url_that_is_not_http_says_what_to_write(text: str):
    with pytest.raises(ValueError, match="write https://api"):
        web_url(text)


def test_a_request_is_named_without_its_query_or_credentials():
    assert Request("GET", "https://me:secret@a.com:81/x/y?key=secret", {}, None).where == "GET a.com:81/x/y"


def test_headers_of_the_action_go_over_the_components_whatever_their_case():
    merged = merge_headers({"authorization": "a", "X-One": "1"}, {"Authorization": "b", "X-Two": 2, "X-Three": True})
    assert merged == {"Authorization": "b", "X-One": "1", "X-Two": "2", "X-Three": "true"}


def test_a_null_header_is_left_out_and_takes_away_the_components():
    assert merge_headers({"X-One": "1", "X-Two": None}, {"x-one": None}) == {}


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "a\ud800", "a\x01b", "\x0ba", "a\x7fb", "a\x1fb"])
def test_a_header_value_cannot_smuggle_a_line(value: str):
    with pytest.raises(InvalidInput, match=r"header 'X-Key': expected a value on one line") as failed:
        merge_headers({"X-Key": value})
    assert failed.value.details["field"] == "headers.X-Key"
    assert "Evil" not in failed.value.message


def test_a_header_value_that_no_version_of_http_would_send_is_found_before_anything_runs():
    ((field, said),) = check_call({}, {"headers": {"X-Key": "a\x01b", "X-Tab": "a\tb", "X-Name": "한"}})
    assert (field, "control character" in said) == ("headers.X-Key", True)


@pytest.mark.parametrize("name", ["X Key", "", "X:Key", "X\r\nKey", "키"])
def test_a_header_name_is_a_token(name: str):
    with pytest.raises(InvalidInput, match="expected a header name"):
        merge_headers({name: "x"})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Expect"])
def test_headers_of_the_wire_are_not_for_authors(name: str):
    with pytest.raises(InvalidInput, match="leave it out"):
        merge_headers({name: "x"})


def test_params_keep_lists_and_leave_nulls_out():
    request = build(params={"q": "안 녕&x=1", "tag": ["a", None, "b"], "n": 5, "on": True, "off": None})
    assert request.url == f"{URL}?q=%EC%95%88%20%EB%85%95%26x%3D1&tag=a&tag=b&n=5&on=true"


def test_params_are_added_to_a_query_that_is_there():
    assert build(params={"b": 2}, url=f"{URL}?a=1").url == f"{URL}?a=1&b=2"
    assert build(params={"b": None}).url == URL


def test_params_come_before_a_fragment_which_is_not_sent():
    assert build(params={"q": 1}, url=f"{URL}#top").url == f"{URL}?q=1"
    assert build(params={"q": 1}, url=f"{URL}?a=1#top").url == f"{URL}?a=1&q=1"
    assert build(url=f"{URL}#top").url == URL


def test_a_param_that_is_a_mapping_is_refused_by_name():
    with pytest.raises(InvalidInput) as failed:
        build(params={"filter": {"a": 1}})
    assert failed.value.details["field"] == "params.filter"


def test_a_body_is_json_and_keeps_its_characters():
    request = build({"글": "안녕", "n": None})
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == '{"글":"안녕","n":null}'.encode()


@pytest.mark.parametrize("body", ["text", 5, [1], False, {}])
def test_any_body_is_json_when_no_header_says_otherwise(body: Any):
    request = build(body)
    assert request.body is not None
    assert json.loads(request.body) == body


def test_no_body_is_no_body():
    request = build(None)
    assert request.body is None
    assert request.headers == {}


def test_a_form_is_sent_when_the_header_says_so():
    request = build({"a": "x y", "b": [1, 2], "c": None, "d": True}, content_type="application/x-www-form-urlencoded")
    assert request.body == b"a=x+y&b=1&b=2&d=true"
    assert build("a=1", Content_Type="application/x-www-form-urlencoded").body == b"a=1"


def test_a_form_field_that_is_a_mapping_is_refused_by_name():
    with pytest.raises(InvalidInput) as failed:
        build({"a": {"b": 1}}, Content_Type="application/x-www-form-urlencoded")
    assert failed.value.details["field"] == "body.a"


def test_text_and_bytes_go_as_they_are_under_their_own_type():
    assert build("a,b", Content_Type="text/csv").body == b"a,b"
    assert build(b"\x00\x01").body == b"\x00\x01"
    assert build(b"\x00\x01").headers["Content-Type"] == "application/octet-stream"


def test_a_mapping_under_a_type_that_is_not_json_is_refused():
    with pytest.raises(InvalidInput, match="expected text or bytes for Content-Type text/csv, got a mapping"):
        build({"a": 1}, Content_Type="text/csv")


@pytest.mark.parametrize("body", [{"a": b"x"}, [float("nan")], {"a": "\ud800"}])
def test_what_json_cannot_hold_is_an_error_about_the_body(body: Any):
    with pytest.raises(InvalidInput, match="can't be"):
        build(body)


def test_a_list_under_a_type_of_lines_is_one_value_a_line():
    assert build([{"a": "한"}, 2], Content_Type="application/x-ndjson").body == '{"a":"한"}\n2\n'.encode()


def test_text_is_written_in_the_charset_that_the_header_names():
    assert build("안녕", Content_Type='text/plain; charset="EUC-KR"').body == "안녕".encode("euc-kr")
    assert build("안녕", Content_Type="text/plain; charset=nonsense").body == "안녕".encode()
    with pytest.raises(InvalidInput, match="that latin-1 can't write; send utf-8"):
        build("안녕", Content_Type="text/plain; charset=latin-1")


def test_a_multipart_body_gets_its_boundary_whatever_the_headers_case():
    request = build({"a": 1}, content_type="multipart/form-data")
    assert list(request.headers) == ["Content-Type"]
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    with pytest.raises(
        InvalidInput, match="expected a mapping of fields for Content-Type multipart/form-data, got a list"
    ):
        build([1], content_type="multipart/form-data")
    with pytest.raises(InvalidInput, match="got text"):
        build("--x--", content_type="multipart/form-data")
    assert build("--x--", content_type="multipart/form-data; boundary=x").body == b"--x--"


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("multipart/form-data", "text", "expected a mapping of fields for Content-Type multipart/form-data, got text"),
        ("application/x-www-form-urlencoded", [1], "expected a mapping of fields"),
        ("application/x-ndjson", {"a": 1}, "expected a list, for one value a line"),
        ("text/csv; charset=utf-8", {"a": 1}, "expected text or bytes for Content-Type text/csv, got a mapping"),
        ("text/plain", 5, "expected text or bytes for Content-Type text/plain, got an integer"),
    ],
)
def test_a_body_that_does_not_fit_its_type_is_found_before_anything_runs(kind: str, body: Any, message: str):
    ((field, said),) = check_call({"headers": {"content-type": kind}}, {"body": body})
    assert (field, said.startswith(message)) == ("body", True)
    assert not list(
        check_call({"headers": {"content-type": "x/y"}}, {"body": Unknown(), "headers": {"Content-Type": kind}})
    )
    assert not list(check_call({"headers": {"content-type": Unknown()}}, {"body": body}))
    assert not list(check_call({}, {"body": body}))


CLIMBING = [
    "/../admin", "a/..", "..", "/a/%2e%2E/b", "a\\..\\b", "/a/../b?x=1", "/..%2fadmin", "/a%5C..%5Cb", "/..;/admin",
    "/..;x=1/admin", "/.%2e%3b/admin", "/%252e%252e/admin", "/..%252Fadmin", "/..\0/admin", "/..%00",
    "/.\t./admin", "/\n.\r./admin", "/..\t", "/.%09./admin", "/%2e\t%2e/x", "/x/.\r./.\r./admin",
]  # fmt: skip


@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_that_climbs_out_of_its_base_url_is_refused(path: str):
    with pytest.raises(InvalidInput, match="stays under base_url") as failed:
        join_url("https://a.com/v1", path)
    assert failed.value.details["field"] == "path"


@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_that_climbs_is_found_before_anything_runs(path: str):
    assert [field for field, _ in check_call({}, {"path": path})] == ["path"]
    assert not list(check_call({}, {"path": Unknown()}))


@pytest.mark.parametrize("path", ["/a..b", "/...", "/a?up=../b", "/.well-known", "/a;b=..x", "/a%20..%20b", "/..a/b.."])
def test_dots_in_names_are_no_climbing(path: str):
    assert join_url("https://a.com/v1", path) == f"https://a.com/v1{path}"


PIECES = ["..", ".", "%2e", "%2E", "/", "%2f", "\\", "%5c", ";", "\t", "\r", "\n", "\0", "#", "?", "%", "25", "a", " "]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=10))
def test_no_path_leaves_its_base_url_once_it_is_sent(pieces: list[str]):
    try:
        url = Sent(join_url("https://a.com/v1/mine", "".join(pieces)))
    except InvalidInput:
        return
    assert url.host == "a.com"
    assert url.raw_path.startswith("/v1/mine/")
    # And so it is for a server that decodes first, splits at a backslash, and forgets what follows a semicolon.
    path = unquote(url.raw_path).replace("\\", "/").translate(dict.fromkeys(map(ord, "\t\r\n")))
    places = [place.partition(";")[0] for place in path.split("/")]
    assert ".." not in places


def test_a_base_url_may_hold_dots():
    assert join_url("https://a.com/v1/../v2", "/x") == "https://a.com/v1/../v2/x"


def test_half_a_character_anywhere_is_refused():
    with pytest.raises(InvalidInput, match="half a character"):
        build("\ud800", Content_Type="text/plain")
    with pytest.raises(InvalidInput, match="half a character"):
        build(params={"q": "\ud800"})
