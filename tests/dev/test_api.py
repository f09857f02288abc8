"""The whole API in one process: a document with an echo, an http-client and a server of its own, as it is on the wire."""

import asyncio
import json
import re
import sys
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from deployments.components import registry
from deployments.dev.graph import Front
from graphs.errors import Unavailable
from graphs.load import load_inline
from tests.fakes.http_server import Answer, Upstream, Wait, openai_events
from tests.serve.api import DEADLINE, END, Api, calling, data, error_of
from tests.serve.clusters import free_port
from tests.transports.served import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPES = registry()
LITTLE = str(Path(__file__).parents[1] / "servers" / "little.py")
KEY = "sk-hush-4711"

DOCUMENT = """
    controller:
      name: All in one
    components:
      - id: echo
        type: echo
        actions:
          - {id: words, text: "${input.text as text}", fail_after: "${input.fail_after | null}"}
          - {id: whole, text: "${input.value}"}
      - id: api
        type: http-client
        base_url: UPSTREAM
        max_concurrent_count: 1
        max_queued: 1
        action:
          path: ${input.path}
          headers: {Authorization: "Bearer ${env.KEY}"}
          body: {stream: true}
          stream_format: json
          output: ${response[].choices[0].delta.content}
      - id: server
        type: http-server
        start: [PYTHON, -S, LITTLE, "${port}"]
        port: PORT
        healthcheck: {path: /health, interval: 50ms}
        actions:
          - id: chat
            path: /v1/chat/completions
            body: {stream: true}
            stream_format: json
            output: ${response[].choices[0].delta.content}
          - {id: who, path: /who, method: GET}
    workflows:
      - id: say
        title: Say it back
        default: true
        output: ${output as text;sse-text}
        jobs: [{component: echo, action: words}]
      - id: value
        jobs: [{component: echo, action: whole}]
      - id: ask
        output: ${output as text;sse-text}
        jobs: [{component: api}]
      - id: serve
        output: ${output as text;sse-text}
        jobs: [{component: server, action: chat}]
      - id: who
        jobs: [{component: server, action: who}]
      - id: both
        output: ${jobs.pass.output as text;sse-text}
        jobs:
          - {id: ask, component: api}
          - {id: pass, component: echo, action: words, input: {text: "${jobs.ask.output}"}}
"""


@dataclass
class Served:
    front: Front
    api: Api
    upstream: Upstream
    document: str

    async def load(self, document: str) -> None:
        plan = load_inline(textwrap.dedent(document), TYPES, {"KEY": KEY})
        await self.front.load(plan, TYPES, lambda _: None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Served]:
    front = Front()
    async with Upstream() as upstream:
        document = DOCUMENT.replace("UPSTREAM", upstream.base_url).replace("PORT", str(free_port()))
        document = document.replace("PYTHON", sys.executable).replace("LITTLE", LITTLE)
        plan = load_inline(textwrap.dedent(document), TYPES, {"KEY": KEY})
        await front.load(plan, TYPES, lambda _: None)
        try:
            async with serving(front, within=None) as url, calling(url) as api:
                yield Served(front, api, upstream, document)
        finally:
            await front.aclose()


@pytest.fixture
def api(served: Served) -> Api:
    return served.api


def stream(*steps: Any) -> Answer:
    return Answer(steps, "text/event-stream")


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_stream_is_server_sent_events_with_an_end(api: Api, prefix: str):
    answer = await api.post({"input": {"text": "one two"}, "output_only": True}, f"{prefix}/workflows/runs")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert re.fullmatch(r"run_[0-9a-f]{32}", answer.headers["X-Run-Id"])
    assert answer.body == data("one", " two") + END


async def test_a_value_is_json_and_a_task_holds_it(api: Api):
    assert (await api.run("value", value={"a": [1, None, "한국어"]})).json() == {"a": [1, None, "한국어"]}
    task = (await api.run("value", output_only=False, value=7)).json()
    assert (task["status"], task["output"]) == ("completed", 7)


async def test_an_upstream_s_stream_comes_through_and_through_another_component(served: Served):
    served.upstream.queue("/v1/both", stream(*openai_events(["Once", " upon"])))
    assert (await served.api.run("ask", path="/v1/both")).body == data("Once", " upon") + END
    assert (await served.api.run("both", path="/v1/both")).body == data("Once", " upon") + END
    assert served.upstream.calls[-1].headers["Authorization"] == f"Bearer {KEY}"


async def test_a_server_of_its_own_is_started_and_called(api: Api):
    assert (await api.run("serve")).body == data("한국어 ", "and ", "🙂") + END


async def test_a_component_that_fails_before_and_in_the_stream(api: Api):
    answer = await api.run("say", text="one two", fail_after=0)
    assert (answer.status, answer.error()["type"], answer.error()["component"]) == (502, "component_failed", "echo")
    answer = await api.run("say", text="one two", fail_after=1)
    assert answer.status == 200
    assert answer.body.startswith(data("one"))
    assert error_of(answer.body.removeprefix(data("one")))["message"].endswith("asked to fail after 1 chunks")


async def test_bad_requests_are_refused_in_the_api_s_own_json(api: Api):
    unknown = await api.run("sya")
    assert (unknown.status, unknown.error()["type"]) == (404, "not_found")
    assert "did you mean 'say'?" in unknown.error()["message"]
    wrong = await api.run("say", text="a", fail_after=-1)
    assert (wrong.status, wrong.error()["type"], wrong.error()["field"]) == (422, "invalid_input", "fail_after")
    assert (await api.post(b"{")).status == 400
    nowhere = await api.get("/nowhere")
    assert (nowhere.status, nowhere.error()["type"]) == (404, "not_found")


async def test_an_upstream_s_refusal_names_the_component_and_hides_the_key(served: Served):
    refusal = json.dumps({"error": f"bad key {KEY}"}).encode()
    served.upstream.queue("/v1/refuses", Answer([refusal], "application/json", 401))
    answer = await served.api.run("ask", path="/v1/refuses")
    assert (answer.status, answer.error()["type"], answer.error()["component"]) == (502, "upstream_failed", "api")
    assert answer.error()["upstream"]["status"] == 401
    assert KEY not in answer.body.decode()


async def test_a_full_queue_is_a_503_that_says_when_to_try_again(served: Served):
    more = asyncio.Event()
    words = openai_events(["one", " two"])
    served.upstream.queue("/v1/held", stream(*words[:2], Wait(more), *words[2:]))
    async with asyncio.timeout(DEADLINE), served.api.stream("ask", path="/v1/held") as reading:
        assert await reading.event() == data("one")
        # Of two more, one waits in the queue and one is refused.
        asking = [asyncio.ensure_future(served.api.run("ask", path="/v1/held")) for _ in range(2)]
        (done,), (waiting,) = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        refused = done.result()
        assert (refused.status, refused.error()["type"], refused.headers["Retry-After"]) == (503, "overloaded", "1")
        more.set()
        assert await reading.rest() == data(" two") + END
        assert (await waiting).body == data("one", " two") + END


async def test_a_client_that_leaves_hangs_up_the_upstream(served: Served):
    served.upstream.queue("/v1/left", stream(*openai_events(["one"])[:2], Wait(asyncio.Event())))
    before = len(served.upstream.calls)
    async with asyncio.timeout(DEADLINE):
        async with served.api.stream("ask", path="/v1/left") as reading:
            assert await reading.event() == data("one")
        await (await served.upstream.called(before + 1)).left.wait()


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_the_other_paths_answer_with_and_without_the_prefix(api: Api, prefix: str):
    listed = (await api.get(f"{prefix}/workflows")).json()["workflows"]
    assert [each["workflow_id"] for each in listed] == ["say", "value", "ask", "serve", "who", "both"]
    assert (await api.get(f"{prefix}/workflows/say/schema")).json()["title"] == "Say it back"
    assert (await api.get(f"{prefix}/health")).json() == {"status": "ok"}
    ready = {"status": "ready", "components": {"echo": "ready", "api": "ready", "server": "ready"}}
    assert (await api.get(f"{prefix}/ready")).json() == ready
    assert (await api.get(f"{prefix}/openapi.json")).json()["info"]["title"] == "All in one"
    assert b"swagger-ui" in (await api.get(f"{prefix}/docs")).body
    assert (await api.get(f"{prefix}/docs/swagger/swagger-ui-bundle.js")).status == 200


async def test_head_answers_as_get_does_without_a_body(api: Api):
    async with ClientSession() as session:
        for path in ("/health", "/api/ready", "/workflows", "/docs"):
            async with session.head(f"{api.url}{path}") as response:
                assert (response.status, await response.read()) == (200, b"")


async def test_a_server_on_a_fixed_port_hands_it_over_and_comes_back_where_the_new_one_fails(served: Served):
    api = served.api
    before = (await api.run("who")).json()
    changed = served.document.replace("interval: 50ms", "interval: 60ms")
    await served.load(changed)
    after = (await api.run("who")).json()
    assert after["port"] == before["port"]
    assert after["pid"] != before["pid"]
    with pytest.raises(Unavailable, match="component 'server' could not be set up"):
        await served.load(served.document.replace('"${port}"]', '"${port}", --nonsense]'))
    again = (await api.run("who")).json()
    assert again["port"] == before["port"]
    assert again["pid"] != after["pid"]
    assert (await api.get("/ready")).status == 200
