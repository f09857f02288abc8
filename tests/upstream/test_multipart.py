"""Fields and files become multipart/form-data that a server reads, and no name or value can break out of its part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from deployments.upstream.bodies import encode_parts
from graphs.errors import InvalidInput
from tests.fakes.calls import Client, one

PNG = b"\x89PNG\r\n\x1a\n\x00\x01"


def parts(fields: dict[str, Any]) -> list[tuple[list[str], bytes]]:
    """The headers and the content of every part, as they are written."""
    body, kind = encode_parts(fields)
    boundary = kind.removeprefix("multipart/form-data; boundary=").encode()
    assert body.endswith(b"--" + boundary + b"--\r\n")
    found: list[tuple[list[str], bytes]] = []
    for part in body.split(b"--" + boundary + b"\r\n")[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        found.append((head.decode().split("\r\n"), content.partition(b"\r\n--" + boundary)[0].removesuffix(b"\r\n")))
    return found


def test_scalars_are_plain_fields_lists_repeat_and_nulls_are_left_out():
    fields = {"model": "whisper-1", "n": 2, "on": True, "tag": ["a", None, "b"], "no": None}
    assert [(head, content.decode()) for head, content in parts(fields)] == [
        (['Content-Disposition: form-data; name="model"'], "whisper-1"),
        (['Content-Disposition: form-data; name="n"'], "2"),
        (['Content-Disposition: form-data; name="on"'], "true"),
        (['Content-Disposition: form-data; name="tag"'], "a"),
        (['Content-Disposition: form-data; name="tag"'], "b"),
    ]


def test_bytes_are_a_file_whose_kind_of_image_is_seen():
    assert parts({"image": PNG, "other": b"\0"}) == [
        (['Content-Disposition: form-data; name="image"; filename="image"', "Content-Type: image/png"], PNG),
        (
            [
                'Content-Disposition: form-data; name="other"; filename="other"',
                "Content-Type: application/octet-stream",
            ],
            b"\0",
        ),
    ]


@pytest.mark.parametrize(
    ("file", "filename", "kind", "content"),
    [
        ({"content": b"a", "filename": "a.mp3"}, "a.mp3", "audio/mpeg", b"a"),
        ({"content": "안녕", "filename": "안녕.txt"}, "안녕.txt", "text/plain", "안녕".encode()),
        ({"content": "x"}, "file", "text/plain; charset=utf-8", b"x"),
        ({"content": {"a": "한"}, "filename": None}, "file", "application/json", '{"a":"한"}'.encode()),
        ({"base64": "aGk\n=", "content_type": "audio/wav"}, "file", "audio/wav", b"hi"),
        ({"base64": "iVBORw0KGgoAAQ=="}, "file", "image/png", PNG),
        ({"url": "data:image/webp;base64,aGk="}, "file", "image/webp", b"hi"),
        ({"url": "data:,a%20b"}, "file", "application/octet-stream", b"a b"),
    ],
)
def test_a_file_is_written_in_any_of_the_ways_it_may_be_given(
    file: dict[str, Any], filename: str, kind: str, content: bytes
):
    disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    assert parts({"file": file}) == [([disposition, f"Content-Type: {kind}"], content)]


def test_no_name_ends_its_header():
    ((head, _),) = parts({'a"\r\nX-Evil: 1': {"content": b"", "filename": 'b"; filename="c\r\n\r\nd'}})
    assert head == [
        'Content-Disposition: form-data; name="a%22%0D%0AX-Evil: 1"; filename="b%22; filename=%22c%0D%0A%0D%0Ad"',
        "Content-Type: application/octet-stream",
    ]


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        ({"a": 1}, "body.file", "expected a form field, got a mapping of a; write text, a number"),
        ({}, "body.file", "got a mapping of nothing"),
        ({"content": b"a", "base64": "YQ=="}, "body.file", "expected a form field"),
        ({"content": 5}, "body.file.content", "expected text, bytes or JSON, got an integer"),
        ({"base64": "?"}, "body.file.base64", "expected base64; raw bytes and text go under content"),
        ({"base64": "안녕"}, "body.file.base64", "expected base64"),
        ({"url": "https://example.com/a.png"}, "body.file.url", "expected a data: URL; a file behind another URL"),
        ({"content": b"", "filename": 5}, "body.file.filename", "expected text, got an integer"),
        (
            {"content": b"", "content_type": "a/b\r\nX: 1"},
            "body.file.content_type",
            "expected a type such as image/png",
        ),
        ([[1]], "body.file", "expected a form field, got a list"),
    ],
)
def test_what_is_no_field_is_refused_by_name(value: Any, field: str, message: str):
    with pytest.raises(InvalidInput) as failed:
        encode_parts({"file": value})
    assert failed.value.details["field"] == field
    assert message in failed.value.message


@pytest.fixture
async def forms() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """A server that reads forms as aiohttp reads them."""
    read: dict[str, Any] = {}

    async def form(request: web.Request) -> web.Response:
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                read[name] = (value.filename, value.content_type, value.file.read())
                value.file.close()
            else:
                read[name] = value
        return web.Response(body=PNG, content_type="image/png")

    app = web.Application()
    app.router.add_post("/form", form)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", read
    await runner.cleanup()


async def test_a_server_reads_what_was_sent_and_an_image_comes_back_as_bytes(
    client: Client, forms: tuple[str, dict[str, Any]]
):
    url, read = forms
    body = {"prompt": "a hat\r\non a dog", "mask": {"content": PNG, "filename": "m 안.png"}, "none": None}
    answer = await one(
        await client(base_url=url), path="/form", body=body, headers={"content-type": "multipart/form-data"}
    )
    assert read == {"prompt": "a hat\r\non a dog", "mask": ("m 안.png", "image/png", PNG)}
    assert b"".join(answer) == PNG
