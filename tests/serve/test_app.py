"""Whole documents on Ray Serve, asked over HTTP: the streaming page's own, and streams through two components."""

import asyncio
import textwrap
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from ray import serve

from deployments.components import registry
from graphs.app import compose
from graphs.load import load_inline
from tests.fakes.http_server import Answer, Step, Upstream, Wait, openai_events
from tests.serve.api import DEADLINE, END, Api, calling, data
from tests.serve.drill import Drill
from tests.transports.socketed import talking, text

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEEDS = Path(__file__).resolve().parent.parent / "seeds" / "en"
KEYS = {"OPENAI_API_KEY": "sk-openai-4711", "ANTHROPIC_API_KEY": "sk-anthropic-4712"}
WORDS = ("Once", " upon", " a", " time")
TYPES = {**registry(), "drill": Drill}

RELAY = """
    controller:
      max_queued: 7
    components:
      - id: source
        type: http-client
        base_url: https://api.openai.com/v1
        action:
          path: ${input.path | /chat/completions}
          body: {stream: true}
          stream_format: json
          output: ${response[].choices[0].delta.content}
      - id: passer
        type: drill
        action: {do: "${input.do | pass}", text: "${input.text}"}
      - id: sink
        type: http-client
        upstreams: ["http://127.0.0.1:1", "https://api.openai.com/v1"]
        action: {path: "${input.to}", headers: {Content-Type: text/plain}, body: "${input.body}"}
    workflows:
      - id: source
        output: ${output as text;sse-text}
        jobs:
          - id: ask
            component: source
      - id: relay
        default: true
        output: ${output as text;sse-text}
        jobs:
          - id: ask
            component: source
          - id: pass
            component: passer
            input: {text: "${jobs.ask.output}"}
      - id: upload
        jobs:
          - id: ask
            component: source
          - id: send
            component: sink
            input: {to: "${input.to}", body: "${jobs.ask.output}"}
      - id: where
        jobs:
          - id: look
            component: passer
            input: {do: where}
"""
CHANNEL_OFF = "runtime_env: {env_vars: {ANABRANCH_CHANNEL: '0'}}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def deployed(cluster: str, upstream: Upstream) -> str:
    relay = textwrap.dedent(RELAY)
    documents = {
        "chat": (SEEDS / "06.yaml").read_text(),
        "several": (SEEDS / "15.yaml").read_text(),
        "channel": relay,
        "handles": relay.replace("max_queued: 7", CHANNEL_OFF).replace(
            "    action: {do", f"    {CHANNEL_OFF}\n    action: {{do"
        ),
    }
    targets = []
    for name, document in documents.items():
        for host in ("https://api.openai.com/v1", "https://api.anthropic.com/v1"):
            document = document.replace(host, f"{upstream.base_url}/v1")
        app = compose(load_inline(document, TYPES, KEYS), TYPES)
        targets.append(serve.RunTarget(app, name=name, route_prefix=f"/{name}"))
    serve.run_many(targets)
    return cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apis(deployed: str) -> AsyncIterator[dict[str, Api]]:
    async with calling(deployed) as root:
        yield {name: Api(root._session, f"{deployed}/{name}") for name in ("chat", "several", "channel", "handles")}


def queued(upstream: Upstream, *steps: Step) -> str:
    """Have the upstream take these steps, and return the path where it does."""
    path = f"/{uuid.uuid4().hex}"
    upstream.queue(f"/v1{path}", Answer(steps, "text/event-stream"))
    return path


async def test_every_component_is_a_deployment_under_its_id_beside_the_ingress(deployed):
    applications = serve.status().applications
    assert {name: set(each.deployments) for name, each in applications.items()} == {
        "chat": {"component", "Ingress"},
        "several": {"openai-client", "claude-client", "Ingress"},
        "channel": {"source", "passer", "sink", "Ingress"},
        "handles": {"source", "passer", "sink", "Ingress"},
    }


async def test_readiness_tells_of_every_component(apis):
    answer = await apis["several"].get("/ready")
    assert (answer.status, answer.json()["components"]) == (200, {"openai-client": "ready", "claude-client": "ready"})


async def test_the_page_s_chat_streams_to_the_byte(apis, upstream):
    before = len(upstream.calls)
    answer = await apis["chat"].post(
        {"input": {"prompt": "Tell me a story"}, "output_only": True, "wait_for_completion": True}
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.body == data(*WORDS) + END
    (call,) = upstream.calls[before:]
    assert call.json() == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Tell me a story"}],
        "stream": True,
    }
    assert call.headers["Authorization"] == f"Bearer {KEYS['OPENAI_API_KEY']}"


async def test_waiting_for_the_task_gives_the_stream_joined(apis):
    answer = await apis["chat"].run(prompt="Hello", output_only=False)
    task = answer.json()
    assert (answer.status, task["status"], task["output"]) == (200, "completed", "Once upon a time")
    assert task["task_id"] == answer.headers["X-Run-Id"]


@pytest.mark.parametrize(
    ("model", "path", "key"),
    [("openai", "/v1/chat/completions", "Authorization"), ("claude", "/v1/messages", "x-api-key")],
)
async def test_the_conditional_document_calls_the_one_upstream_its_input_names(apis, upstream, model, path, key):
    before = len(upstream.calls)
    answer = await apis["several"].run(prompt="Hello", model=model)
    assert answer.body == data(*WORDS) + END
    (call,) = upstream.calls[before:]
    assert call.path == path
    assert key in call.headers


async def test_a_run_without_any_true_condition_names_the_conditions_and_calls_nobody(apis, upstream):
    before = len(upstream.calls)
    answer = await apis["several"].run(prompt="Hello", model="gemini")
    assert (answer.status, answer.error()["type"]) == (422, "no_result")
    assert "${input.model == 'openai'}" in answer.error()["message"]
    assert "${input.model == 'claude'}" in answer.error()["message"]
    assert upstream.calls[before:] == []


@pytest.mark.parametrize(("name", "workflow"), [("channel", "relay"), ("handles", "source")])
async def test_a_chunk_arrives_before_the_next_one_exists(apis, upstream, name, workflow):
    steps = openai_events(["하나", " two"])
    first, second = asyncio.Event(), asyncio.Event()
    path = queued(upstream, *steps[:2], Wait(first), steps[2], Wait(second), *steps[3:])
    async with asyncio.timeout(DEADLINE), apis[name].stream(workflow, path=path) as reading:
        assert await reading.event() == data("하나")
        first.set()
        assert await reading.event() == data(" two")
        second.set()
        assert await reading.rest() == END


@pytest.mark.parametrize(("name", "workflow"), [("channel", "relay"), ("handles", "source")])
async def test_a_long_stream_arrives_whole_and_in_order(apis, upstream, name, workflow):
    words = [f"{n} " for n in range(5000)]
    path = queued(upstream, *openai_events(words))
    assert (await apis[name].run(workflow, path=path)).body == data(*words) + END


@pytest.mark.parametrize("name", ["channel", "handles"])
async def test_a_stream_is_sent_on_to_the_upstream_that_answers(apis, upstream, name):
    more, before = asyncio.Event(), len(upstream.begun)
    steps = openai_events(WORDS)
    path, to = queued(upstream, *steps[:2], Wait(more), *steps[2:]), queued(upstream, b"data: taken")
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(apis[name].run("upload", path=path, to=to))
        if name == "channel":  # as it comes: the upload has begun, and the stream it sends waits
            upload = await upstream.sending(before + 2)
            assert (upload.path, upload.headers["Transfer-Encoding"]) == (f"/v1{to}", "chunked")
        more.set()
    assert run.result().body == b"data: taken"
    assert upstream.begun[before + 1].body.decode() == "".join(WORDS)


async def test_without_the_channel_a_stream_into_a_component_arrives_joined(apis, upstream):
    path = queued(upstream, *openai_events(WORDS))
    assert (await apis["handles"].run("relay", path=path)).body == data("".join(WORDS)) + END


@pytest.mark.parametrize(("name", "channels"), [("channel", 1), ("handles", 0)])
async def test_chunks_go_over_the_channel_unless_it_is_switched_off(apis, name, channels):
    assert (await apis[name].run()).status == 200
    assert (await apis[name].run("where")).json()["channels"] == channels


@pytest.mark.parametrize(("name", "workflow"), [("channel", "relay"), ("handles", "source")])
async def test_a_departed_client_s_upstream_is_hung_up(apis, upstream, name, workflow):
    path = queued(upstream, *openai_events(["one"])[:2], Wait(asyncio.Event()))
    before = len(upstream.calls)
    async with asyncio.timeout(DEADLINE):
        async with apis[name].stream(workflow, path=path) as reading:
            assert await reading.event() == data("one")
        await (await upstream.called(before + 1)).left.wait()


async def test_requests_over_a_socket_are_answered_and_its_departure_hangs_up_their_upstreams(apis, upstream):
    go_on, never = asyncio.Event(), asyncio.Event()
    steps = openai_events(WORDS)
    paths = {"a": queued(upstream, *steps[:2], Wait(go_on), *steps[2:]), "b": queued(upstream, *steps[:2], Wait(never))}
    before = len(upstream.calls)
    async with asyncio.timeout(DEADLINE), talking(apis["channel"].url) as talk:
        for name, path in paths.items():
            await talk.ask("hi", model="relay", metadata={"input": {"path": path}}, request_id=name)
            frames = [await talk.frame(), await talk.frame()]
            assert (text(frames), frames[0]["request_id"]) == (WORDS[0], name)
        go_on.set()
        rest = await talk.answer()
        assert (text(rest), rest[-1]["request_id"]) == ("".join(WORDS[1:]), "a")
        await talk.ask("hi", model="no-such", request_id="c")
        assert (await talk.error())["code"] == "model_not_found"
    async with asyncio.timeout(DEADLINE):
        await (await upstream.called(before + 2)).left.wait()


async def test_an_upstream_s_refusal_reaches_the_client_with_its_status(apis):
    answer = await apis["channel"].run(path="/chat/completions?status=402")
    error = answer.error()
    assert (answer.status, error["type"], error["component"]) == (502, "upstream_failed", "source")
    assert error["upstream"]["status"] == 402
    assert "told to answer 402" in answer.body.decode()


async def test_keys_of_the_environment_are_nowhere_in_the_api(apis):
    for path in ("/workflows", "/workflows/multi-model-chat/schema", "/openapi.json", "/ready"):
        answer = await apis["several"].get(path)
        assert answer.status == 200
        assert not any(key in answer.body.decode() for key in KEYS.values())
