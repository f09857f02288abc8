"""Bytes of a process -> lines in the log."""

from __future__ import annotations

import logging

import pytest

from deployments.servers.output import KEPT, LONGEST, SHOWN, Output, unquoted
from deployments.telemetry.redaction import Redactor


@pytest.fixture
def output(caplog: pytest.LogCaptureFixture) -> Output:
    caplog.set_level(logging.INFO, "anabranch.servers")
    return Output("chat")


def test_every_line_is_logged_under_the_components_name(output: Output, caplog: pytest.LogCaptureFixture):
    output.feed(b"one\r\ntwo\n\nthr")
    assert caplog.messages == ["chat | one", "chat | two"]
    output.feed(b"ee\n")
    assert caplog.messages[-1] == "chat | three"


def test_a_character_split_between_packets_arrives_whole(output: Output, caplog: pytest.LogCaptureFixture):
    for byte in "한국어 🙂\n".encode():
        output.feed(bytes([byte]))
    assert caplog.messages == ["chat | 한국어 🙂"]


def test_a_progress_bar_is_a_line_each_time(output: Output, caplog: pytest.LogCaptureFixture):
    output.feed(b"10%\r20%\r30%\n")
    assert caplog.messages == ["chat | 10%", "chat | 20%", "chat | 30%"]


def test_colours_and_controls_stay_out_of_the_log(output: Output, caplog: pytest.LogCaptureFixture):
    output.feed(b"\x1b[1;32mINFO\x1b[0m: a\x00b\x08\tc\x1b]0;title\x07\n")
    assert caplog.messages == ["chat | INFO: ab\tc"]


def test_an_endless_line_comes_in_pieces(output: Output, caplog: pytest.LogCaptureFixture):
    for _ in range(14):
        output.feed(b"x" * 1000)
    piece = "x" * LONGEST
    assert caplog.messages == [f"chat | {piece}…", f"chat | …{piece}…"]
    output.end()
    output.feed(b"next\n")
    assert caplog.messages[2:] == [f"chat | …{piece}…", "chat | …" + "x" * 2000, "chat | next"]


def test_the_pieces_of_a_line_say_that_they_are_pieces(output: Output, caplog: pytest.LogCaptureFixture):
    output.feed(b"y" * LONGEST + b"z\nnext\n")
    assert caplog.messages == ["chat | " + "y" * LONGEST + "…", "chat | …z", "chat | next"]


@pytest.mark.parametrize("before", [SHOWN - 10, LONGEST - 10, LONGEST - SHOWN, 2 * LONGEST - 10])
@pytest.mark.parametrize("packet", [1, 1000, 10_000])
def test_no_part_of_a_secret_is_left_where_a_line_is_cut(caplog: pytest.LogCaptureFixture, before: int, packet: int):
    caplog.set_level(logging.INFO, "anabranch.servers")
    secret = "0123456789abcdefghijklmnopqrstuvwxyz"
    output = Output("chat", Redactor({secret}).text)
    line = b"." * before + secret.encode() + b" is wrong" + b"." * LONGEST + b"\n"
    for at in range(0, len(line), packet):
        output.feed(line[at : at + packet])
    for text in (*caplog.messages, output.quoted("it ended")):
        assert not any(secret[at : at + 4] in text for at in range(len(secret) - 3))
    assert "***" in "".join(message.removeprefix("chat | ").strip("…") for message in caplog.messages)


def test_what_has_no_line_end_is_logged_at_the_end(output: Output, caplog: pytest.LogCaptureFixture):
    output.feed(b"no model\xed\x95")
    output.end()
    assert caplog.messages == ["chat | no model\N{REPLACEMENT CHARACTER}"]


def test_the_last_lines_are_kept_for_errors(output: Output):
    assert output.quoted("it ended") == "it ended; it said nothing"
    output.feed(b"".join(b"line %d\n" % n for n in range(100)) + b"y" * 1000 + b"\n")
    first, *lines = output.quoted("it ended").splitlines()
    assert first == "it ended; it said last:"
    assert len(lines) == KEPT
    assert lines[-2:] == ["line 99", "y" * 400 + "…"]
    assert unquoted(output.quoted("it ended")) == "it ended"
    output.begin()
    assert output.quoted("it ended") == "it ended; it said nothing"
