"""What goes wrong, over real HTTP: replicas killed, clients that leave, full queues, bad requests."""

import asyncio
import json
import os
import signal
import textwrap
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from aiohttp import ClientError
from ray import serve
from ray.serve.context import _get_global_client

from deployments.components import registry
from deployments.serve.start_failures import causes
from graphs.app import compose
from graphs.load import load_inline
from tests.serve.api import DEADLINE, END, Api, calling, data, error_of, until
from tests.serve.drill import SECRET, Drill, heard, tell, told

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPES = {**registry(), "drill": Drill}

DOCUMENT = """
    controller:
      max_request_size: 1MB
    components:
      - id: first
        type: drill
        action: &drill
          do: ${input.do}
          text: ${input.text}
          count: ${input.count | 5}
          event: ${input.event | ""}
      - id: second
        type: drill
        action: *drill
      - id: narrow
        type: drill
        max_concurrent_count: 1
        max_queued: 1
        action: *drill
    workflows:
      - id: one
        output: ${output as text;sse-text}
        jobs:
          - id: only
            component: first
      - id: two
        output: ${output as text;sse-text}
        jobs:
          - id: begin
            component: first
          - id: end
            component: second
            input:
              do: ${input.then | pass}
              text: ${jobs.begin.output}
              event: ${input.then_event | ""}
      - id: narrow
        jobs:
          - id: only
            component: narrow
"""

ONE_AT_A_TIME = """
    controller: {max_concurrent_count: 1, max_queued: 1}
    component:
      type: drill
      action: {do: "${input.do}", event: "${input.event}"}
"""


@pytest.fixture(scope="module")
def deployed(latch: None, cluster: str) -> str:
    plans = {"/": DOCUMENT, "/line": ONE_AT_A_TIME}
    environ = {"SECRET": SECRET}
    serve.run_many(
        [
            serve.RunTarget(
                compose(load_inline(textwrap.dedent(document), TYPES, environ), TYPES),
                name=prefix.strip("/") or "main",
                route_prefix=prefix,
            )
            for prefix, document in plans.items()
        ]
    )
    return cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def root(deployed: str) -> AsyncIterator[Api]:
    async with calling(deployed) as root:
        yield root


@pytest.fixture
def api(root: Api) -> Api:
    return root


@pytest.fixture
def line(root: Api) -> Api:
    return Api(root._session, f"{root.url}/line")


@pytest.fixture
def event() -> str:
    return uuid.uuid4().hex


def pid_of(deployment: str) -> int:
    """The process of a deployment's one replica."""
    details = _get_global_client().get_serve_details()["applications"]["main"]["deployments"][deployment]
    (replica,) = [each for each in details["replicas"] if each["state"] == "RUNNING"]
    return replica["pid"]


async def recovered(api: Api, workflow: str) -> None:
    """Ask until it works again; meanwhile a client is told, in the API's own words, that it doesn't."""

    async def ask():
        answer = await api.run(workflow, do="stream", count=2)
        assert answer.status in (200, 503), answer
        return answer

    answer = await until(ask, lambda answer: answer.status == 200)
    assert answer.body == data("0 ", "1 ") + END


# Components that die


@pytest.mark.parametrize(
    ("workflow", "component", "input"),
    [
        ("one", "first", {"do": "wait"}),
        ("two", "first", {"do": "wait"}),
        ("two", "second", {"do": "stream", "count": 1, "then": "wait"}),
    ],
)
async def test_a_replica_killed_in_the_middle_ends_the_stream_with_an_error_and_comes_back(
    api, event, workflow, component, input
):
    async with asyncio.timeout(DEADLINE), api.stream(workflow, event=event, then_event=event, **input) as reading:
        pid = (await reading.event()).removeprefix(b"data: ")
        os.kill(int(pid), signal.SIGKILL)
        error = error_of(await reading.event())
        assert error["type"] == "unavailable"
        assert f"component '{component}'" in error["message"]
        assert error["run_id"] == reading.response.headers["X-Run-Id"]
        assert await reading.rest() == b""
    await recovered(api, workflow)


async def test_a_replica_killed_before_the_first_chunk_is_a_503(api, event):
    asking = asyncio.ensure_future(api.run("one", do="wait before", event=event))
    async with asyncio.timeout(DEADLINE):
        os.kill(await told(f"{event} started"), signal.SIGKILL)
        answer = await asking
    assert (answer.status, answer.error()["type"]) == (503, "unavailable")
    assert "component 'first'" in answer.error()["message"]
    await recovered(api, "one")


async def test_an_ingress_killed_in_the_middle_cuts_the_stream_stops_the_component_and_comes_back(api, event):
    async with asyncio.timeout(DEADLINE):
        async with api.stream("one", do="wait", event=event) as reading:
            await reading.event()
            os.kill(await asyncio.to_thread(pid_of, "Ingress"), signal.SIGKILL)
            with pytest.raises(ClientError):  # a body without its end: no client takes it for a whole one
                await reading.rest()
        await told(f"{event} stopped")

    async def ask():
        with suppress(ClientError):
            return await api.get("/ready")

    await until(ask, lambda answer: answer is not None and answer.status == 200)
    await recovered(api, "one")


# Components that fail


async def test_a_component_that_raises_before_the_first_chunk_is_a_502(api):
    answer = await api.run("one", do="raise", count=0)
    error = answer.error()
    assert (answer.status, error["type"], error["component"]) == (502, "component_failed", "first")
    assert error["run_id"] == answer.headers["X-Run-Id"]
    assert "ValueError" in error["message"]
    assert "Traceback" not in answer.body.decode()
    assert "second line" not in error["message"]


async def test_a_component_that_raises_later_ends_the_stream_with_the_error(api, event):
    async with asyncio.timeout(DEADLINE), api.stream("two", do="raise when told", event=event) as reading:
        assert reading.response.status == 200
        assert await reading.event() == data("one")
        tell(f"{event} go on")
        error = error_of(await reading.event())
        assert (error["type"], error["component"], error["job"]) == ("component_failed", "first", "begin")
        assert await reading.rest() == b""


async def test_a_component_that_raises_while_a_client_waits_for_the_task_is_a_502(api):
    answer = await api.run("one", do="raise", count=3, output_only=False)
    assert (answer.status, answer.error()["type"]) == (502, "component_failed")


async def test_an_error_of_a_component_s_own_keeps_its_type_and_status(api):
    answer = await api.run("one", do="exceed")
    error = answer.error()
    assert (answer.status, error["type"], answer.headers["Retry-After"]) == (429, "quota_exceeded", "60")
    assert error["message"].endswith("all spent")
    assert "status" not in error


async def test_a_component_whose_setup_fails_fails_the_deployment_in_one_line(cluster):
    broken = "component:\n  id: broken\n  type: drill\n  breaks: true\n  action: {do: whole}"
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(
            serve.run, compose(load_inline(broken, TYPES, {}), TYPES), name="broken", route_prefix="/broken"
        )
    status = serve.status().applications["broken"]
    assert status.status == "DEPLOY_FAILED"
    said = (
        f"<document>:2:3: component 'broken' could not be set up: RuntimeError: no such model, and the key is {SECRET}"
    )
    (line,) = [line for line in status.deployments["broken"].message.splitlines() if "could not be set up" in line]
    assert line.endswith(said)
    assert causes({"broken": status.deployments["broken"].message}) == [said]
    await asyncio.to_thread(serve.delete, "broken")


# Requests that are wrong, or too much


async def test_a_wrong_input_names_the_field(api):
    answer = await api.run("one", do="stream", count="many")
    assert (answer.status, answer.error()["type"]) == (422, "invalid_input")
    assert answer.error()["field"] == "count"
    assert "expected a whole number, got text" in answer.error()["message"]


async def test_an_unknown_workflow_is_a_404_with_the_known_ones(api):
    answer = await api.run("tow")
    assert (answer.status, answer.error()["type"]) == (404, "not_found")
    assert "did you mean 'two'?" in answer.error()["message"]


async def test_malformed_json_is_a_400_that_says_where(api):
    answer = await api.post(b'{"input": }')
    assert (answer.status, answer.error()["type"]) == (400, "bad_request")
    assert "line 1" in answer.error()["message"]


async def test_an_input_that_is_too_large_is_a_413_and_the_largest_allowed_passes(api):
    empty = len(json.dumps({"workflow_id": "one", "input": {"do": "whole", "text": ""}}))
    room = 10**6 - empty
    for size, status in ((room, 200), (room + 1, 413)):
        answer = await api.post({"workflow_id": "one", "input": {"do": "whole", "text": "x" * size}})
        assert answer.status == status
    assert answer.error()["type"] == "too_large"


async def test_a_component_s_full_queue_is_a_503_with_a_time_to_try_again(api, event):
    running = asyncio.ensure_future(api.run("narrow", do="wait before", event=event))
    async with asyncio.timeout(DEADLINE):
        await told(f"{event} started")
        waiting = [asyncio.ensure_future(api.run("narrow", do="stream", count=1)) for _ in range(4)]
        refused = await next(asyncio.as_completed(waiting))
        assert (refused.status, refused.error()["type"]) == (503, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert "component 'narrow' has a full queue" in refused.error()["message"]
        tell(f"{event} go on")
        assert (await running).status == 200
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {200, 503}


async def test_a_run_beyond_the_limit_of_the_whole_application_is_a_503_and_health_still_answers(line, event):
    running = asyncio.ensure_future(line.run(do="wait before", event=event))
    async with asyncio.timeout(DEADLINE):
        await told(f"{event} started")
        waiting = [asyncio.ensure_future(line.run(do="stream", event="")) for _ in range(2)]
        done, (queued,) = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().result()
        assert (refused.status, refused.error()["type"]) == (503, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert (await line.get("/health")).status == 200
        tell(f"{event} go on")
        assert (await running).status == 200
        assert (await queued).body == data("0 ", "1 ", "2 ", "3 ", "4 ") + END


# Clients that leave


HOPS = [
    pytest.param("one", {"do": "{wait}"}, id="the only component"),
    pytest.param("two", {"do": "{wait}"}, id="the first of two"),
    pytest.param("two", {"do": "stream", "count": 1, "then": "{wait}"}, id="the second of two"),
]


def waiting(input: dict, wait: str, event: str) -> dict:
    """The input with what waits filled in, and its event at the component that waits."""
    filled = {name: wait if value == "{wait}" else value for name, value in input.items()}
    return {**filled, "then_event" if input.get("then") else "event": event}


@pytest.mark.parametrize(("workflow", "input"), HOPS)
async def test_a_client_that_leaves_its_stream_stops_the_component(api, event, workflow, input):
    async with asyncio.timeout(DEADLINE):
        async with api.stream(workflow, **waiting(input, "wait", event)) as reading:
            assert (await reading.event()).startswith(b"data: ")
            assert await heard(f"{event} stopped") is None
        await told(f"{event} stopped")


@pytest.mark.parametrize("output_only", [True, False], ids=["its stream", "its task"])
@pytest.mark.parametrize(("workflow", "input"), HOPS)
async def test_a_client_that_leaves_before_the_answer_stops_the_component(api, event, workflow, input, output_only):
    wait = "wait before" if output_only else "wait"
    asking = asyncio.ensure_future(api.run(workflow, output_only=output_only, **waiting(input, wait, event)))
    async with asyncio.timeout(DEADLINE):
        await told(f"{event} started")
        assert not asking.done()
        assert await heard(f"{event} stopped") is None
        asking.cancel()
        await told(f"{event} stopped")
