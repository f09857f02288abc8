"""The event parser keeps to the WHATWG standard, however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.upstream import sse
from deployments.upstream.sse import EventParser, ServerEvent
from graphs.errors import UpstreamFailed


def parse(*packets: bytes) -> list[ServerEvent]:
    parser = EventParser()
    return [event for packet in packets for event in parser.feed(packet)] + parser.end()


def data(*packets: bytes) -> list[str]:
    return [event.data for event in parse(*packets)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_at_lf_cr_or_crlf(line_end: bytes):
    assert data(b"data: a\n\ndata: b\n\n".replace(b"\n", line_end)) == ["a", "b"]


def test_no_other_character_ends_a_line():
    text = "a\u2028b\u0085c\x0bd\x0ce\x1cf"
    assert data(f"data: {text}\n\n".encode()) == [text]


def test_a_crlf_cut_between_its_bytes_is_one_line_end():
    assert data(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == ["a\nb"]


def test_an_event_ended_by_cr_is_given_before_the_lf_comes():
    parser = EventParser()
    assert [event.data for event in parser.feed(b"data: a\r\n\r")] == ["a"]
    assert parser.feed(b"\n") == []


def test_several_data_lines_are_one_event_with_newlines():
    assert data(b"data: a\ndata:\ndata: b\n\n") == ["a\n\nb"]


def test_only_one_space_after_the_colon_is_dropped():
    assert data(b"data:a\n\ndata:  b\n\n") == ["a", " b"]


def test_data_without_a_colon_is_an_empty_line_of_data():
    assert data(b"data\ndata: a\n\ndata\n\n") == ["\na", ""]


def test_comments_and_unknown_fields_change_nothing():
    assert data(b": hello\n:\nretry: 10\nfoo: bar\ndata: a\n\n: bye\n\n") == ["a"]


def test_an_event_without_data_is_not_given_and_its_name_is_forgotten():
    assert parse(b"event: x\n\ndata: a\n\n") == [ServerEvent("a")]


def test_names_belong_to_one_event_and_ids_stay():
    events = parse(b"event: x\nid: 1\ndata: a\n\ndata: b\n\nid: bad\0\ndata: c\n\nid\ndata: d\n\n")
    assert events == [
        ServerEvent("a", "x", "1"), ServerEvent("b", id="1"), ServerEvent("c", id="1"), ServerEvent("d"),
    ]  # fmt: skip


def test_a_bom_at_the_start_is_no_part_of_the_first_field():
    assert data(b"\xef", b"\xbb\xbfdata: a\n\n") == ["a"]
    assert data(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == ["a"]


@pytest.mark.parametrize("tail", [b"data: b", b"data: b\n", b"data: b\r", b"data: b\r\n"])
def test_a_last_event_without_its_blank_line_is_given_at_the_end(tail: bytes):
    assert data(b"data: a\n\n" + tail) == ["a", "b"]


def test_bytes_that_are_not_utf8_become_replacement_characters():
    assert data(b"data: a\xffb\n\n") == ["a\ufffdb"]


def test_many_events_in_one_packet_come_at_once():
    assert EventParser().feed(b"data: a\n\n" * 3) == [ServerEvent("a")] * 3


@given(
    body=st.lists(
        st.sampled_from(["data: 안녕", "data:🙂", "data", ":c", "event: x", "id: 7", "", "data:  a"]), max_size=12
    ),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    cuts=st.lists(st.integers(0, 200), max_size=20),
)
def test_where_the_bytes_are_cut_changes_nothing(body: list[str], end: str, cuts: list[int]):
    raw = end.join([*body, ""]).encode()
    places = sorted({0, *(min(cut, len(raw)) for cut in cuts), len(raw)})
    packets = [raw[start:stop] for start, stop in itertools.pairwise(places)]
    assert parse(*packets) == parse(raw) == parse(*(raw[at : at + 1] for at in range(len(raw))))


@pytest.mark.parametrize("packet", [b"x" * 100, b"data: " + b"x" * 94 + b"\n"])
def test_an_event_or_line_over_the_limit_is_an_error(packet: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 1000)
    with pytest.raises(UpstreamFailed, match="one event of the stream is larger than"):
        parse(*[packet] * 11)


def test_events_under_the_limit_may_add_up_to_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 1000)
    assert len(parse(*[b"data: " + b"x" * 500 + b"\n\n"] * 10)) == 10
