"""Documents with http-clients, run as they would be served: what bindings lead to, and what waits for an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from textwrap import dedent
from typing import Any

import pytest

from graphs.checker import check
from graphs.errors import BindingFailed, InvalidInput
from graphs.plan import Plan
from graphs.source import Source
from tests.configs.running import TYPES, serving
from tests.fakes.http_server import Upstream
from tests.fakes.http_server.answers import json_answer


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


def plan(document: str, upstream: Upstream) -> Plan:
    text = dedent(document).replace("UPSTREAM", upstream.base_url).replace("HOST", upstream.authority)
    return check([Source("test.yaml", text)], TYPES, {}.get)


async def output(document: str, upstream: Upstream, **input: Any) -> Any:
    async with serving(plan(document, upstream)) as served:
        return (await served.run(input)).output


POLLING = """
    component:
      type: http-client
      base_url: UPSTREAM
      path: /jobs
      body: {prompt: "${input.prompt}"}
      completion:
        type: polling
        path: /jobs/${response.id as text}/${input.part | state}
        status: state
        interval: 1ms
        timeout: ${input.patience | 10}
      output: ${result.text}
    workflow:
      jobs:
        - component: component
          input: ${input}
"""


async def test_polling_reads_the_answer_that_started_the_job(upstream: Upstream):
    upstream.queue("/jobs", json_answer({"id": 7}))
    upstream.queue("/jobs/7/state", json_answer({"state": "running"}), json_answer({"state": "done", "text": "a cat"}))
    assert await output(POLLING, upstream, prompt="a cat") == "a cat"
    assert upstream.calls[0].json() == {"prompt": "a cat"}
    assert len(upstream.calls) == 3


async def test_what_does_not_fit_once_it_is_known_is_wrong_input_that_names_the_field(upstream: Upstream):
    upstream.queue("/jobs", json_answer({"id": 7}))
    with pytest.raises(InvalidInput, match=r"completion\.timeout") as failed:
        await output(POLLING, upstream, patience="soon")
    assert failed.value.details["field"] == "completion.timeout"


async def test_a_binding_that_the_answer_cannot_give_names_itself(upstream: Upstream):
    upstream.queue("/jobs", json_answer({"id": 7}))
    document = POLLING.replace("${response.id as text}", "${response.id as list}")
    with pytest.raises(BindingFailed, match=r"response\.id as list"):
        await output(document, upstream)


STREAMING = """
    component:
      type: http-client
      base_url: UPSTREAM
      path: PATH
      body: {stream: true}
      stream_format: json
      output: OUTPUT
    workflow:
      jobs:
        - component: component
"""


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        (
            "/v1/chat/completions?usage=1",
            "${response[].choices[0].delta.content}",
            {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, "finish_reason": "stop"},
        ),
        ("/v1/messages", "${response[].delta.text}", {"finish_reason": "stop"}),
    ],
)
async def test_the_text_of_a_stream_is_as_without_the_note_that_follows_it(
    upstream: Upstream, path: str, text: str, told: dict[str, Any]
):
    async with serving(plan(STREAMING.replace("PATH", path).replace("OUTPUT", text), upstream)) as served:
        answer = await served.run({})
    assert answer.chunks == ["Once", " upon", " a", " time"]
    assert (answer.output, answer.notes) == ("Once upon a time", [told])


GIVEN = """
    component:
      type: http-client
      endpoint: ENDPOINT
      method: GET
    workflow:
      jobs:
        - component: component
          input: ${input}
"""


@pytest.mark.parametrize("endpoint", ["UPSTREAM/text", "UPSTREAM/${input.path}", "UPSTREAM/text?q=${input.q}"])
async def test_a_host_that_the_document_writes_is_trusted(upstream: Upstream, endpoint: str):
    assert await output(GIVEN.replace("ENDPOINT", endpoint), upstream, path="text") == "Once upon a time"


@pytest.mark.parametrize("endpoint", ["${input.url}", "http://${input.host}/text", "UPSTREAM${input.rest}"])
async def test_a_host_that_a_request_chooses_is_guarded(upstream: Upstream, endpoint: str):
    document = GIVEN.replace("ENDPOINT", endpoint)
    with pytest.raises(InvalidInput, match="a request may not lead to"):
        await output(document, upstream, url=f"{upstream.base_url}/text", host=upstream.authority, rest="/text")
    assert upstream.calls == []


async def test_a_url_that_the_answer_to_a_start_gives_is_guarded(upstream: Upstream):
    async with Upstream() as other:
        upstream.queue("/jobs", json_answer({"url": f"{other.base_url}/text"}))
        document = POLLING.replace(
            "path: /jobs/${response.id as text}/${input.part | state}", "endpoint: ${response.url}"
        )
        with pytest.raises(InvalidInput, match="a request may not lead to"):
            await output(document, upstream)
        assert other.calls == []
