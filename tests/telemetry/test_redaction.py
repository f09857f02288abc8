"""Secrets stay in."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.telemetry.redaction import Redactor
from graphs.errors import UpstreamFailed


def test_secrets_are_replaced_in_text_and_data():
    redactor = Redactor({"abcd-1234", "abcd", "xyz"})
    assert redactor.text("a abcd-1234 b abcd c") == "a *** b *** c"
    assert redactor.value({"abcd": ["x", ("abcd",), 3, None, b"\xff abcd"]}) == {
        "***": ["x", ["***"], 3, None, b"\xff ***"]
    }


def test_what_is_too_short_to_be_a_secret_is_left():
    assert Redactor({"on", "1"}).text("on page 1") == "on page 1"
    assert Redactor({"    ", "\\\\\\\\", "a   b"}).text("a b \\ c") == "a b \\ c"


KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"
ODD = "a/b+c=d \"e\\f' é\n🙂%25"


@pytest.mark.parametrize("secret", [KEY, ODD])
@pytest.mark.parametrize(
    "written",
    [
        lambda secret: quote(secret, safe=""),
        lambda secret: quote(secret),
        quote_plus,
        lambda secret: quote(quote(secret, safe=""), safe="").lower(),
        json.dumps,
        lambda secret: json.dumps(secret, ensure_ascii=False).replace("/", "\\/"),
        lambda secret: json.dumps(json.dumps(secret)),
        repr,
        lambda secret: " ".join(secret.split()),
    ],
)
def test_secrets_are_replaced_however_they_are_escaped(written, secret):
    text = Redactor({secret}).text(f"no route /x?key={written(secret)}&b=1 here")
    assert text.replace("'", "").replace('"', "").replace("\\", "") == "no route /x?key=***&b=1 here"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("user", ["", "u:", "me:", "you:"])
def test_credentials_in_base64_are_replaced(encode, user):
    for secret in (KEY, ODD):
        sent = encode(f"{user}{secret}".encode()).decode()
        assert Redactor({secret}).text(f"got 'Basic {sent}', no more") == "got 'Basic ***', no more"
    ordinary = base64.b64encode(b"nothing to hide, nothing at all").decode()
    assert Redactor({KEY, ODD}).text(ordinary) == ordinary


@pytest.mark.parametrize("known", range(8, len(KEY)))
def test_what_a_cut_leaves_of_a_secret_is_replaced(known):
    redactor = Redactor({KEY, "other-secret"})
    assert redactor.text(f"bad key {KEY[:known]}...") == "bad key ***..."
    assert redactor.text(f"expected JSON, got '<{KEY[:known]}'… (300 characters)") == (
        "expected JSON, got '<***'… (300 characters)"
    )
    assert redactor.text(f"one\n{KEY[:known]}…\ntwo") == "one\n***…\ntwo"


def test_credentials_in_base64_that_was_cut_are_replaced():
    sent = base64.b64encode(f"me:{KEY}".encode()).decode()[:20]
    assert Redactor({KEY}).text(f"got '{sent}'… (99 characters)") == "got '***'… (99 characters)"


@pytest.mark.parametrize("known", range(4, 26))
def test_a_cut_in_the_middle_of_an_escape_is_seen(known):
    sent = quote("abc/def+ghi=jkl", safe="")
    assert len(sent) == 21
    redactor = Redactor({"abc/def+ghi=jkl"})
    assert redactor.text(f"key={sent[:known]}…") == ("key=***…" if known > 5 else f"key={sent[:known]}…")


def test_ordinary_text_that_ends_like_a_secret_begins_is_left():
    redactor = Redactor({"https://api.example.com/v1", "prod-key-1234", "password1"})
    for text in ("write https://", "write `base_url: https://…`", "the key of prod", "it passed", "a pa…", "…1"):
        assert redactor.text(text) == text


def test_short_texts_in_data_are_no_cut_ones():
    assert Redactor({"gpt-4o-mini-secret"}).value({"default": "gpt-4o-mini"}) == {"default": "gpt-4o-mini"}
    assert Redactor({KEY}).value(["x" * 1000 + KEY[:20] + "…"]) == ["x" * 1000 + "***…"]


def test_of_two_secrets_in_one_place_the_longer_is_replaced():
    redactor = Redactor({"abcd", "abcd/efgh", "bcd/ef"})
    assert redactor.text("x abcd%2Fefgh y abcd/ef… z abcd") == "x *** y ***… z ***"


@given(st.text(min_size=4, max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_no_secret_stands_in_what_is_shown(secret, before, after):
    shown = Redactor({secret}).text(f"{before}{secret}{after}")
    assert not any(secret in piece for piece in shown.split("***"))


def test_without_secrets_nothing_is_touched():
    value = {"a": [1]}
    assert Redactor().value(value) is value


def test_an_error_keeps_its_type_and_loses_its_secrets():
    error = Redactor({"abcd"}).error(UpstreamFailed("say abcd", upstream={"status": 401, "body": "abcd"}))
    assert type(error) is UpstreamFailed
    assert error.to_data() == {
        "type": "upstream_failed",
        "message": "say ***",
        "upstream": {"status": 401, "body": "***"},
    }


@pytest.mark.parametrize("secret", ["message", "type", "upstream_failed", "upstream", "status", "body"])
def test_a_secret_that_is_a_word_of_ours_takes_nothing_from_the_errors_shape(secret: str):
    error = Redactor({secret}).error(UpstreamFailed("no", upstream={"status": 401, "body": "gone"}))
    assert type(error) is UpstreamFailed
    assert error.to_data() == {"type": "upstream_failed", "message": "no", "upstream": {"status": 401, "body": "gone"}}
