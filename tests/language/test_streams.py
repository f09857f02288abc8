"""Streams in templates: passed on, cast chunk by chunk, joined where needed, mapped by `X[]`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from graphs.errors import BindingFailed, ComponentFailed
from graphs.language import NeedsWhole, Scope, evaluate, parse, render
from graphs.language.nodes import MappingTemplate
from graphs.stream import Batch, Note, Stream


class Source:
    """Batches to stream; knows whether it was closed."""

    def __init__(self, *batches: Batch, error: Exception | None = None) -> None:
        self.closed = 0

        async def given() -> AsyncIterator[Batch]:
            for batch in batches:
                yield batch
            if error is not None:
                raise error

        async def close() -> None:
            self.closed += 1

        self.stream = Stream(given(), close)


def stream(*chunks: Any) -> Stream:
    return Source(*([chunk] for chunk in chunks)).stream


async def batches(value: Any) -> list[Batch]:
    assert isinstance(value, Stream)
    return [batch async for batch in value.batches()]


async def until_it_fails(value: Any) -> list[Batch]:
    assert isinstance(value, Stream)
    came: list[Batch] = []

    async def read() -> None:
        async for batch in value.batches():
            came.append(batch)

    with pytest.raises(BindingFailed):
        await read()
    return came


async def rendered(text: str, **names: Any) -> Any:
    return await render(parse(text), Scope(names))


# --- passed on ---


async def test_a_stream_that_is_the_whole_value_passes_through() -> None:
    flowing = stream("a")
    assert evaluate(parse("${jobs.a.output}"), Scope({"jobs": {"a": {"output": flowing}}})) is flowing
    assert await rendered("${x}", x=flowing) is flowing


async def test_a_stream_is_present_so_the_default_does_not_apply() -> None:
    flowing = stream("a")
    assert await rendered("${x | d}", x=flowing) is flowing
    assert await rendered("${gone | ${x}}", x=flowing) is flowing


async def test_streams_are_leaves_of_a_mapping() -> None:
    a, b = stream("a"), stream("b")
    template = MappingTemplate((("a", parse("${a}")), ("b", parse("${b as text}"))))
    both = await render(template, Scope({"a": a, "b": b}))
    assert both["a"] is a
    assert await batches(both["b"]) == [["b"]]


@pytest.mark.parametrize("type", ["image", "audio;url", "markdown"])
async def test_media_pass_as_they_are(type: str) -> None:
    flowing = stream(b"a")
    assert await rendered(f"${{x as {type}}}", x=flowing) is flowing


# --- cast to text ---


@pytest.mark.parametrize("type", ["text", "string", "text;sse-text", "text;sse-json"])
async def test_as_text_casts_chunk_by_chunk(type: str) -> None:
    note = Note({"usage": 1})
    source = Source(["a", 5, None], [note, {"k": "é"}, ""], [True])
    result = await rendered(f"${{x as {type}}}", x=source.stream)
    assert await batches(result) == [["a", "5"], [note, '{"k": "é"}'], ["true"]]
    assert source.closed == 1


async def test_a_character_split_over_chunks_arrives_whole() -> None:
    data = "가🙂é".encode()
    result = await rendered("${x as text}", x=stream(*(data[i : i + 1] for i in range(len(data)))))
    assert [batch[0] for batch in await batches(result)] == ["가", "🙂", "é"]


async def test_a_character_never_completed_becomes_a_replacement_at_the_end() -> None:
    result = await rendered("${x as text}", x=stream(b"a\xea\xb0"))
    assert await batches(result) == [["a"], ["\ufffd"]]


async def test_an_incomplete_character_before_text_stands_where_it_came() -> None:
    result = await rendered("${x as text}", x=stream(b"a\xea", "b", b"\xb0c"))
    assert await batches(result) == [["a"], ["\ufffd", "b"], ["\ufffdc"]]


@pytest.mark.parametrize("format", ["sse-json", "sse-text"])
async def test_json_with_a_format_says_how_a_value_is_written_and_changes_nothing(format: str) -> None:
    flowing = stream("Once", {"b": 2})
    assert await rendered(f"${{x as json;{format}}}", x=flowing) is flowing
    assert await rendered(f"${{x as json;{format}}}", x="Once") == "Once"


async def test_json_without_a_format_parses_the_joined_stream_or_each_chunk() -> None:
    assert await rendered("${x as json}", x=stream('{"a":', " 1}")) == {"a": 1}
    assert await batches(await rendered("${x[] as json}", x=stream('{"a": 1}', "2"))) == [[{"a": 1}], [2]]


async def test_a_stream_of_text_as_json_says_what_sends_it_as_json() -> None:
    with pytest.raises(
        BindingFailed, match=r"got text that is not JSON .* write as text .* as json;sse-json to send it"
    ):
        await rendered("${x as json}", x=stream("Once ", "upon"))


async def test_a_chunk_that_does_not_convert_ends_the_stream_with_the_binding() -> None:
    source = Source(["1"], ["{"])
    result = await rendered("${x[] as json}", x=source.stream)
    with pytest.raises(BindingFailed, match=r"\$\{x\[\] as json\}: expected JSON text"):
        await batches(result)
    assert source.closed == 1


async def test_chunks_before_one_that_does_not_convert_come_even_if_all_came_together() -> None:
    source = Source(["1", "2", "{", "3"])
    result = await rendered("${x[] as json}", x=source.stream)
    assert await until_it_fails(result) == [[1, 2]]
    assert source.closed == 1


async def test_so_they_do_where_one_cannot_become_text() -> None:
    result = await rendered("${x as text}", x=Source(["a", 1, float("nan"), "b"]).stream)
    assert await until_it_fails(result) == [["a", "1"]]


async def test_so_they_do_under_casts_upon_casts_and_the_first_failure_is_told() -> None:
    late = Source(["a", float("nan"), "b"])
    result = await rendered("${x as text | none as text}", x=late.stream)
    assert await until_it_fails(result) == [["a"]]


async def test_a_cast_stream_is_made_of_another_in_place_of_its_own() -> None:
    result = await rendered("${x as text}", x=stream("never read"))
    assert await batches(result.over(stream(b"\xc3", b"\xa9"))) == [["é"]]
    mapped = await rendered("<${x[]}>", x=stream("never read"))
    assert await batches(mapped.over(stream("a", "b"))) == [["<a>"], ["<b>"]]


async def test_closing_the_cast_stream_closes_the_source() -> None:
    source = Source(["a"], ["b"])
    result = await rendered("${x as text}", x=source.stream)
    await result.aclose()
    assert source.closed == 1


async def test_an_error_of_the_source_comes_through() -> None:
    source = Source([b"a\xea"], error=ComponentFailed("broke"))
    result = await rendered("${x as text}", x=source.stream)
    with pytest.raises(ComponentFailed, match="broke"):
        await batches(result)


# --- needed whole ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<${x}>", "<ab>"), ("${x as base64}", "YWI="), ("${x == 'ab'}", True), ("${x or 'c'}", "ab"), ("${not x}", False),
        ("${x.k}", None), ("${x[0]}", None), ("${'a' in x}", True), ("${x as select/ab,c}", "ab"),
        ("<${gone | ${x}}>", "<ab>"), ("${x as text | none as base64}", "YWI="),
        ("${gone | ${x} as base64}", "YWI="), ("${x as base64 | none as text}", "YWI="),
    ],
)  # fmt: skip
async def test_expressions_join_a_stream(text: str, expected: object) -> None:
    flowing = stream("a", "b")
    with pytest.raises(NeedsWhole) as caught:
        evaluate(parse(text), Scope({"x": flowing}))
    assert caught.value.stream is flowing
    assert await rendered(text, x=flowing) == expected
    assert evaluate(parse(text), Scope({"x": flowing})) == expected


async def test_a_path_after_a_stream_reads_the_joined_chunks() -> None:
    assert await rendered("${x[1].t}", x=stream({"t": 1}, {"t": 2})) == 2


async def test_integers_are_read_from_the_whole() -> None:
    assert await rendered("${x as integer}", x=stream("1", "2")) == 12


async def test_streams_inside_containers_are_joined_when_spliced_or_compared() -> None:
    assert await rendered("a ${x}", x={"s": stream("b", "c")}) == 'a {"s": "bc"}'
    assert await rendered("${x as text}", x=[stream("b", "c")]) == '["bc"]'
    assert await rendered("${x == y}", x=[stream("b", "c")], y=["bc"]) is True


async def test_two_streams_in_one_text_are_both_joined() -> None:
    assert await rendered("${a}-${b}", a=stream("a", "b"), b=stream("c")) == "ab-c"


async def test_a_joined_stream_still_passes_as_a_stream() -> None:
    flowing = stream("a", "b")
    await flowing.join()
    assert await batches(await rendered("${x as text}", x=flowing)) == [["ab"]]


# --- X[] ---


def chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


async def test_a_template_of_a_chunk_gives_the_mapped_stream() -> None:
    source = Source([chunk("a"), {"choices": []}], [Note({})], [chunk(""), chunk("b")])
    result = await rendered("${response[].choices[0].delta.content}", response=source.stream)
    assert await batches(result) == [["a"], [Note({})], ["b"]]
    assert source.closed == 1


async def test_both_names_of_one_stream_are_its_chunk() -> None:
    flowing = stream({"a": 1, "b": 2})
    result = await rendered("${result[].a}-${response[].b}", result=flowing, response=flowing)
    assert await batches(result) == [["1-2"]]


async def test_a_mapping_gives_one_mapping_a_chunk() -> None:
    template = MappingTemplate((("t", parse("${result[].text}")), ("n", parse("${input.n}"))))
    result = await render(template, Scope({"result": stream({"text": "a"}, {"text": "b"}), "input": {"n": 1}}))
    assert await batches(result) == [[{"t": "a", "n": 1}], [{"t": "b", "n": 1}]]


async def test_text_around_a_chunk_is_around_every_chunk() -> None:
    assert await batches(await rendered("<${result[]}>", result=stream("a", "b"))) == [["<a>"], ["<b>"]]


@pytest.mark.parametrize("text", ["${result[] as text}", "${result[]}${gone}", "${result[] | x as text}"])
async def test_bytes_read_as_text_chunk_by_chunk_never_split_a_character(text: str) -> None:
    data = "é가".encode()
    result = await rendered(text, result=stream(data[:1], data[1:3], data[3:]))
    assert [piece for batch in await batches(result) for piece in batch] == ["é", "가"]


async def test_raw_chunks_stay_bytes() -> None:
    assert await batches(await rendered("${result[]}", result=stream(b"\xc3", b"\xa9"))) == [[b"\xc3"], [b"\xa9"]]


async def test_a_chunk_of_what_does_not_stream_is_the_value() -> None:
    assert await rendered("${result[].t}", result={"t": 5}) == 5
    assert await render(parse("${result[]}"), Scope({"result": "whole"}, {"result": "chunk"})) == "chunk"


async def test_another_stream_is_joined_before_the_first_chunk_that_needs_it() -> None:
    result = await rendered("${a[]}${b}${c}", a=stream("1", "2"), b=stream("x", "y"), c=stream("z"))
    assert await batches(result) == [["1xyz"], ["2xyz"]]


async def test_reading_one_stream_both_by_chunk_and_whole_is_refused() -> None:
    source = Source(["a"])
    result = await rendered("${x[]} of ${x}", x=source.stream)
    with pytest.raises(BindingFailed, match=r"write x\[\] for every use of it"):
        await batches(result)
    assert source.closed == 1


async def test_a_chunk_that_fails_ends_the_stream_with_the_binding() -> None:
    source = Source(["1", "x"])
    result = await rendered("${x[] as integer}", x=source.stream)
    with pytest.raises(BindingFailed, match=r"\$\{x\[\] as integer\}: expected an integer, got text 'x'"):
        await batches(result)
    assert source.closed == 1


async def test_chunks_before_one_that_fails_come_even_if_all_came_together() -> None:
    result = await rendered("${x[] as integer}", x=Source(["1", Note({}), "2", "x", "3"]).stream)
    assert await until_it_fails(result) == [[1, Note({}), 2]]


async def test_mapping_is_lazy_and_closing_it_closes_the_source() -> None:
    source = Source(["a"], ["b"])
    result = await rendered("${x[]}", x=source.stream)
    await result.aclose()
    assert source.closed == 1


async def test_chunks_ready_together_stay_together() -> None:
    result = await rendered("${x[]}", x=Source(["a", "b"], ["c"]).stream)
    assert await batches(result) == [["a", "b"], ["c"]]
