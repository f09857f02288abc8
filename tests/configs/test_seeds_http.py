"""The documents over HTTP APIs run as they are written, with only their base_url pointed at an upstream of ours."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphs.errors import AnabranchError, NoResult, UpstreamFailed
from graphs.load import load_inline
from graphs.plan import Plan
from graphs.source import DocumentError
from tests.configs.running import TYPES, serving
from tests.fakes.http_server import Answer, Upstream
from tests.fakes.http_server.answers import json_answer

ROOT = Path(__file__).parent.parent.parent
SEEDS = ROOT / "tests" / "seeds" / "en"
EXAMPLES = {"04": "openai-chat", "06": "streaming-chat", "15": "multi-model-chat"}
KEYS = {"OPENAI_API_KEY": "sk-openai", "ANTHROPIC_API_KEY": "sk-claude"}
WORDS = ["Once", " upon", " a", " time"]


def document(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def config(name: str) -> dict[str, Any]:
    return document(ROOT / "configs" / f"{name}.yaml")


def pointed(data: dict[str, Any], **upstreams: Upstream) -> Plan:
    """Return the plan, each component's base_url leading to an upstream: the one under its id, or the only one."""
    for component in data.get("components") or [data["component"]]:
        upstream = upstreams.get(component.get("id", "").replace("-", "_")) or upstreams["all"]
        assert component["base_url"].startswith("https://api.")
        component["base_url"] = f"{upstream.base_url}/v1"
    return load_inline(data, TYPES, KEYS)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
async def claude() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.mark.parametrize(("seed", "name"), EXAMPLES.items())
def test_a_document_is_the_seeds(seed: str, name: str):
    assert config(name) == document(SEEDS / f"{seed}.yaml")


@pytest.mark.parametrize("name", [*EXAMPLES.values(), "transcribe"])
def test_a_key_that_is_not_there_is_named_before_anything_runs(name: str):
    with pytest.raises(DocumentError, match="OPENAI_API_KEY"):
        load_inline(config(name), TYPES, {})


@pytest.mark.parametrize("name", ["openai-chat", "streaming-chat"])
async def test_openais_words_stream(upstream: Upstream, name: str):
    async with serving(pointed(config(name), all=upstream)) as served:
        told = await served.run({"prompt": "Tell me 하나"})
    assert told.streamed
    assert told.chunks == WORDS
    (call,) = upstream.calls
    assert (call.method, call.path) == ("POST", "/v1/chat/completions")
    assert call.headers["Authorization"] == "Bearer sk-openai"
    assert call.json() == {"model": "gpt-4o", "messages": [{"role": "user", "content": "Tell me 하나"}], "stream": True}


async def test_openai_is_called_and_claude_is_not(upstream: Upstream, claude: Upstream):
    plan = pointed(config("multi-model-chat"), openai_client=upstream, claude_client=claude)
    async with serving(plan) as served:
        told = await served.run({"model": "openai", "prompt": "Hello"})
    assert told.chunks == WORDS
    assert [call.path for call in upstream.calls] == ["/v1/chat/completions"]
    assert claude.calls == []


async def test_claude_is_called_and_openai_is_not(upstream: Upstream, claude: Upstream):
    plan = pointed(config("multi-model-chat"), openai_client=upstream, claude_client=claude)
    async with serving(plan) as served:
        told = await served.run({"model": "claude", "prompt": "Hello"})
    assert told.chunks == WORDS
    (call,) = claude.calls
    assert call.path == "/v1/messages"
    assert call.headers["x-api-key"] == "sk-claude"
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert "sk-openai" not in str(dict(call.headers))
    assert upstream.calls == []


async def test_a_model_that_neither_knows_calls_nobody_and_names_the_conditions(upstream: Upstream, claude: Upstream):
    plan = pointed(config("multi-model-chat"), openai_client=upstream, claude_client=claude)
    async with serving(plan) as served:
        with pytest.raises(NoResult, match="condition"):
            await served.run({"model": "other", "prompt": "Hello"})
    assert upstream.calls == claude.calls == []


@pytest.mark.parametrize("name", ["openai-chat", "streaming-chat"])
async def test_a_refusal_carries_openais_words_and_never_the_key(upstream: Upstream, name: str):
    body = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}
    upstream.queue("/v1/chat/completions", json_answer(body, 429))
    async with serving(pointed(config(name), all=upstream)) as served:
        with pytest.raises(UpstreamFailed, match="You exceeded your current quota") as failed:
            await served.run({"prompt": "Hello"})
    assert failed.value.details["upstream"] == {"status": 429, "body": body}
    assert "sk-openai" not in str(failed.value.to_data())


@pytest.mark.parametrize("seed", ["11", "12", "13"])
async def test_the_fragments_on_timeouts_and_retries_run(upstream: Upstream, seed: str):
    data = document(SEEDS / f"{seed}.yaml")
    async with serving(pointed(data, all=upstream)) as served:
        told = await served.run({})
    assert told.streamed
    assert upstream.calls[0].json() == {"stream": True}


async def test_a_recording_is_sent_as_a_file(upstream: Upstream):
    upstream.queue("/v1/audio/transcriptions", json_answer({"text": "옛날 옛적에"}))
    async with serving(pointed(config("transcribe"), all=upstream)) as served:
        told = await served.run({"audio": base64.b64encode(b"RIFF\0\1").decode()})
    assert told.output == "옛날 옛적에"
    (call,) = upstream.calls
    assert call.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert re.search(
        rb'name="file"; filename="speech.wav"\r\nContent-Type: audio/.+\r\n\r\nRIFF\x00\x01\r\n', call.body
    )
    assert b'name="language"\r\n\r\nen\r\n' in call.body


async def test_a_recording_that_is_no_base64_names_its_field(upstream: Upstream):
    async with serving(pointed(config("transcribe"), all=upstream)) as served:
        with pytest.raises(AnabranchError, match="expected base64") as failed:
            await served.run({"audio": "not base64!"})
    assert failed.value.details["field"] == "body.file.base64"
    assert upstream.calls == []


PIPE = """
components:
  - id: api
    type: http-client
    base_url: https://api.example.com/v1
    actions:
      - id: words
        path: /ndjson
        stream_format: json
        output: ${response[].word}
      - id: picture
        path: /picture
        method: GET
      - id: store
        path: /echo
        headers: {Content-Type: text/plain}
        body: ${input.data}
        output: ${response.body}
      - id: describe
        path: /echo
        body: {image: "${input.image as base64}"}
        output: ${response.body as json}
workflows:
  - id: relay
    default: true
    jobs:
      - {id: words, component: api, action: words}
      - {id: store, component: api, action: store, input: {data: "${jobs.words.output}"}}
  - id: describe
    jobs:
      - {id: picture, component: api, action: picture}
      - {id: describe, component: api, action: describe, input: {image: "${jobs.picture.output}"}}
"""


async def test_the_stream_of_one_call_is_the_body_of_another(upstream: Upstream):
    async with serving(pointed(yaml.safe_load(PIPE), all=upstream)) as served:
        upstream.queue("/v1/ndjson", Answer([b'{"word": "Once"}\n', b'{"word": " upon"}\n'], "application/x-ndjson"))
        upstream.queue("/v1/echo", json_answer({"body": "stored"}))
        told = await served.run({})
    assert told.output == "stored"
    assert upstream.calls[1].body == b"Once upon"
    assert upstream.calls[1].headers["Transfer-Encoding"] == "chunked"


async def test_an_image_comes_out_as_bytes_and_goes_into_json_as_base64(upstream: Upstream):
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    async with serving(pointed(yaml.safe_load(PIPE), all=upstream)) as served:
        upstream.queue("/v1/picture", Answer([png[:9], png[9:]], "image/png"))
        upstream.queue("/v1/echo", json_answer({"body": '{"seen": "a cat"}'}))
        told = await served.run({}, "describe")
    assert told.output == {"seen": "a cat"}
    assert upstream.calls[1].json() == {"image": base64.b64encode(png).decode()}
