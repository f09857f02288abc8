"""The Python of the page on streaming that this API was asked for in: each block runs as it was printed.

Two things are put in its place: the client is the `openai` package's, and the address is the server's. The model of that name
says back what it is told.
"""

from __future__ import annotations

import builtins
import json
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
    assert run("chat")[0] == "Write a short story about a robot."


def test_a_completion_streams(run: Run):
    assert run("completion")[0] == "Explain quantum computing in detail:"


def test_a_stream_tells_its_tokens(run: Run):
    printed, names = run("metadata")
    assert names["response"] == "Explain machine learning step by step."
    assert "] Explain[" in printed
    assert counted(printed) in (6, 7)


def test_a_stream_calls_back(run: Run):
    printed, names = run("callbacks")
    assert names["response"] == "Write a poem about technology."
    assert printed.startswith("Write a poem about technology.\n\nStreaming completed:\n")
    assert counted(printed) in (5, 6)


def test_a_socket_streams(run: Run):
    assert run("socket")[0] == "Tell me a story.\n\nFull response: Tell me a story.\n"


def test_a_conversation_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch):
    said = iter(["Hello!", "What is anabranch?", "quit"])
    monkeypatch.setattr(builtins, "input", lambda _: next(said))
    assert run("interactive")[0].endswith("-\nAssistant: Hello!Assistant: What is anabranch?")


def test_a_stream_drives_a_progress_bar(run: Run, capsys: pytest.CaptureFixture[str]):
    printed, _ = run("progress")
    assert printed == "\nFinal response: Explain the concept of neural networks.\n"
    assert "Generated 6 tokens" in capsys.readouterr().err


def test_a_stream_survives_without_a_retry(run: Run):
    printed, names = run("retries")
    assert printed == names["response"] == "Write a short story about space exploration."


def test_a_stream_is_measured(run: Run):
    printed, _ = run("metrics")
    assert counted(printed) in (6, 7)
    assert printed.endswith(" ms\n")


def counted(printed: str) -> int:
    """Return how many chunks the page's code has counted; OpenAI's API sends one without text too."""
    return int(printed.partition("Total tokens: ")[2].split()[0])


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
