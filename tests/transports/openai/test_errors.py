"""What isn't a request of OpenAI's API at all is told in its shape too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.transports.openai.models_api import CHAT, COMPLETIONS, EMBEDDINGS, Answering, ask, models_plan

LARGE = {"messages": [{"role": "user", "content": "x" * 2000}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", CHAT, b"{", (), 400),
        ("POST", COMPLETIONS, b"", (), 400),
        ("POST", EMBEDDINGS, b"[]", (), 400),
        ("POST", CHAT, b'{"model": "\xed"}', (), 400),
        ("POST", CHAT, b'{"a": 1, "a": 2}', (), 400),
        ("POST", CHAT, b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", (), 400),
        ("POST", CHAT, LARGE, (), 413),
        ("POST", f"/api{CHAT}", LARGE, (), 413),
        ("POST", CHAT, b"x", ("Content-Encoding: gzip",), 415),
        ("GET", CHAT, b"", (), 405),
        ("PUT", f"/api{COMPLETIONS}", b"", (), 405),
        ("POST", "/v1/models", b"", (), 405),
        ("GET", "/v1/nothing", b"", (), 404),
    ],
)
async def test_every_error_has_openais_shape(
    method: str, path: str, body: Any, headers: tuple[str, ...], status: int
) -> None:
    served = models_plan(max_request_size=1000)
    answer = await ask(Answering("x"), path, body, *headers, method=method, served=served)
    assert answer.status == status
    assert answer.error["type"] == "invalid_request_error"
    assert set(answer.error) == {"message", "type", "param", "code"}
