"""The Python of the page on streaming that this API was asked for in: each block runs as it was printed.

Two things are put in its place: the client is the `openai` package's, and the address is the server's.
"""

from __future__ import annotations

import builtins
import json
import re
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import openai
import pytest

BLOCKS = {
    path.stem.partition("-")[2]: path.read_text(encoding="utf-8")
    for path in sorted(Path(__file__).parent.glob("seed/*.py"))
}
CLIENT = 'InferneoClient("http://localhost:8000")'

Run = Callable[[str], tuple[str, dict[str, Any]]]


@pytest.fixture
def run(url: str) -> Run:
    """Run a block in the names that those before it on the page leave; return what it printed and the names after it."""

    def run(name: str) -> tuple[str, dict[str, Any]]:
        names: dict[str, Any] = {"__name__": "page", "time": time}
        client = f"from openai import OpenAI as InferneoClient\nclient = {CLIENT}"
        exec(code(client, url), names)
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(code(BLOCKS[name], url), name, "exec"), names)
        return printed.getvalue(), names

    return run


def code(block: str, url: str) -> str:
    """Return a block with the client and the address that there are."""
    return (
        block.replace("from inferneo import InferneoClient", "from openai import OpenAI as InferneoClient")
        .replace(CLIENT, f'InferneoClient(base_url="{url}/v1", api_key="none", max_retries=0)')
        .replace("ws://localhost:8000", url.replace("http", "ws", 1))
    )


def test_the_page_has_nine_blocks():
    assert len(BLOCKS) == 9


def test_a_chat_streams(run: Run):
    printed, _ = run("chat")
    assert len(printed.split()) > 3


def test_a_completion_streams(run: Run):
    printed, _ = run("completion")
    assert printed.strip()


def test_a_stream_tells_its_tokens(run: Run):
    printed, names = run("metadata")
    count = int(re.findall(r"Total tokens: (\d+)", printed)[0])
    assert count > 3
    assert f"[Token {count}]" in printed
    assert names["response"].strip()


def test_a_stream_calls_back(run: Run):
    printed, names = run("callbacks")
    assert names["response"].strip()
    assert printed.startswith(names["response"])
    assert names["callback"].tokens_received > 3


def test_a_socket_streams(run: Run):
    printed, _ = run("socket")
    streamed, _, whole = printed.partition("\n\nFull response: ")
    assert len(streamed.split()) > 3
    assert whole == f"{streamed}\n"


def test_a_conversation_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch):
    said = iter(["Hello!", "What is anabranch?", "quit"])
    monkeypatch.setattr(builtins, "input", lambda _: next(said))
    printed, _ = run("interactive")
    first, second = printed.split("Assistant: ")[1:]
    assert first.strip()
    assert second.strip()
    assert "Error" not in printed


def test_a_stream_drives_a_progress_bar(run: Run, capsys: pytest.CaptureFixture[str]):
    printed, names = run("progress")
    assert names["response"].strip()
    assert f"Final response: {names['response']}" in printed


def test_a_stream_survives_without_a_retry(run: Run):
    printed, names = run("retries")
    assert names["response"].strip()
    assert "failed" not in printed


def test_a_stream_is_measured(run: Run):
    printed, _ = run("metrics")
    assert int(re.findall(r"Total tokens: (\d+)", printed)[0]) > 3


def test_what_a_socket_says_is_what_a_stream_says(url: str):
    """A frame is the chunk of the same request by HTTP, without `data:`."""
    from websockets.sync.client import connect

    asked: dict[str, Any] = {
        "model": "scripted",
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "stream": True,
    }
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        chunks = [chunk.to_dict() for chunk in client.chat.completions.create(**asked)]
    with connect(f"{url.replace('http', 'ws', 1)}/v1/chat/completions") as socket:
        socket.send(json.dumps({**asked, "request_id": "r1"}))
        frames = []
        while not frames or not any(choice["finish_reason"] for choice in frames[-1]["choices"]):
            frames.append(json.loads(socket.recv(timeout=20)))
    assert {frame.pop("request_id") for frame in frames} == {"r1"}
    assert [frame["choices"] for frame in frames] == [chunk["choices"] for chunk in chunks]
    assert {frame["object"] for frame in frames} == {"chat.completion.chunk"}
