"""The commands as people run them, with Ray's fast flags and without: documents served from a shell, and nothing left afterwards."""

import asyncio
import os
import signal
import subprocess
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from bench.processes import Process
from bench.systems import FAST, ROOT, SCRIPTS, Server, System, serving
from tests.fakes.http_server import Answer, Upstream, Wait, events
from tests.serve.api import DEADLINE, END, Api, calling, data, until
from tests.transports.socketed import talking, text

pytestmark = pytest.mark.asyncio(loop_scope="module")

GONE_WITHIN = 50.0

DOCUMENT = """
    components:
      - id: source
        type: http-client
        base_url: {base_url}
        action: {{path: "${{input.path}}", stream_format: json, output: "${{response[].word}}"}}
      - id: echo
        type: echo
        action: {{text: "${{input.text}}", repeat: "${{input.repeat | 1}}"}}
      - id: relay
        type: echo
        action: {{text: "${{input.text}}"}}
      - id: unreachable
        type: http-client
        base_url: {base_url}
        runtime_env: {{env_vars: {{ANABRANCH_CHANNEL: "0"}}}}
        action: {{path: "${{input.path}}", stream_format: json, output: "${{response[].word}}"}}
    workflows:
      - id: words
        output: ${{output as text;sse-text}}
        jobs:
          - {{id: first, component: echo}}
          - {{id: second, component: relay, input: {{text: "${{jobs.first.output}}"}}}}
      - id: relayed
        output: ${{output as text;sse-text}}
        jobs:
          - {{id: first, component: source}}
          - {{id: second, component: relay, input: {{text: "${{jobs.first.output}}"}}}}
      - id: by-handle
        output: ${{output as text;sse-text}}
        jobs:
          - {{id: first, component: unreachable}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory) -> Iterator[Server]:
    """`anabranch serve FILE --port N`, with Ray's fast flags."""
    path = tmp_path_factory.mktemp("served") / "document.yaml"
    path.write_text(textwrap.dedent(DOCUMENT.format(base_url=upstream.base_url)))

    def command(port: int, _: Path) -> list[str]:
        return [str(SCRIPTS / "anabranch"), "serve", str(path), "--port", str(port)]

    with serving(System("anabranch", "anabranch serve", command, says="Serving ")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(server: Server) -> AsyncIterator[Api]:
    async with calling(server.url.rstrip("/")) as api:
        yield api


async def test_ready_names_the_components(api):
    answer = await api.get("/ready")
    assert (answer.status, set(answer.json()["components"])) == (200, {"source", "echo", "relay", "unreachable"})


async def test_a_chunk_passes_two_components_before_the_next_one_exists(api, upstream):
    go_on = asyncio.Event()
    upstream.queue("/slow", sse([word("하나"), Wait(go_on), word(" two")]))
    async with asyncio.timeout(DEADLINE), api.stream("relayed", path="/slow") as reading:
        assert await reading.event() == data("하나")
        go_on.set()
        assert await reading.rest() == data(" two") + END


async def test_a_client_that_leaves_hangs_up_the_upstream(api, upstream):
    upstream.queue("/left", sse([word("one"), Wait(asyncio.Event())]))
    before = len(upstream.calls)
    async with asyncio.timeout(DEADLINE):
        async with api.stream("relayed", path="/left") as reading:
            assert await reading.event() == data("one")
        await (await upstream.called(before + 1)).left.wait()


@pytest.mark.parametrize("workflow", ["relayed", "by-handle"])
async def test_a_reader_that_stands_still_stops_its_producer_and_nobody_else(api, upstream, workflow):
    made = 0

    def endless():
        nonlocal made
        while True:
            made += 1
            yield word("x" * 1000)

    async def made_beside_another_stream() -> tuple[int, int]:
        before = made
        assert (await api.run("words", text="one two ", repeat=1000)).body == data(*["one", " two "] * 1000) + END
        return before, made

    upstream.queue("/endless", sse(endless()))
    before = len(upstream.calls)
    async with asyncio.timeout(2 * DEADLINE):
        async with api.stream(workflow, path="/endless") as reading:
            await reading.event()
            await until(made_beside_another_stream, lambda made: made[0] == made[1])
            assert not upstream.calls[before].left.is_set()
            for _ in range(100):
                assert await reading.event() == data("x" * 1000)
        await upstream.calls[before].left.wait()


async def test_a_long_stream_through_two_components_keeps_memory_flat(api, server):
    count = 100_000
    lines, early = 0, {}
    async with asyncio.timeout(2 * DEADLINE), api.stream("words", text="x" * 99 + " ", repeat=count) as reading:
        async for piece in reading.response.content.iter_any():
            lines += piece.count(b"\n")
            if not early and lines >= 2 * count // 5:
                server.processes.find()
                early = server.processes.resident()
    late = server.processes.resident()
    assert lines == 2 * count + END.count(b"\n")
    grown = {process.name: late[process] - size for process, size in early.items() if process in late}
    assert len(grown) > 5
    assert {name: size for name, size in grown.items() if size > 30 * 2**20} == {}


async def test_requests_over_a_socket_are_told_apart_and_its_departure_hangs_up_their_upstreams(server, upstream):
    go_on = asyncio.Event()
    upstream.queue("/one", sse([word("one"), Wait(go_on), word(" more")]))
    upstream.queue("/two", sse([word("two"), Wait(asyncio.Event())]))
    before = len(upstream.calls)
    async with asyncio.timeout(DEADLINE), talking(server.url.rstrip("/")) as talk:
        for name in ("one", "two"):
            await talk.ask("hi", model="relayed", metadata={"input": {"path": f"/{name}"}}, request_id=name)
            frames = [await talk.frame(), await talk.frame()]
            assert {frame["request_id"] for frame in frames} == {name}
            assert text(frames) == name
        go_on.set()
        assert text(await talk.answer()) == " more"
        await talk.say(type="ping")
        assert await talk.frame() == {"type": "pong"}
    async with asyncio.timeout(DEADLINE):
        await upstream.calls[before + 1].left.wait()


async def test_a_socket_that_stands_still_stops_its_producer(server, upstream):
    made = 0

    def endless():
        nonlocal made
        while True:
            made += 1
            yield word("x" * 1000)

    async def made_meanwhile() -> tuple[int, int]:
        before = made
        for _ in range(20):
            await other.ask("hi", model="words", metadata={"input": {"text": "word"}})
            await other.answer()
        return before, made

    upstream.queue("/endless", sse(endless()))
    before = len(upstream.calls)
    url = server.url.rstrip("/")
    async with asyncio.timeout(2 * DEADLINE), talking(url) as other:
        async with talking(url, compression=None, max_queue=1) as still:
            await still.ask("hi", model="relayed", metadata={"input": {"path": "/endless"}})
            await still.frame()
            await until(made_meanwhile, lambda made: made[0] == made[1])
            still.wire.transport.abort()
        await upstream.calls[before].left.wait()


async def test_told_to_stop_it_refuses_requests_lets_streams_end_and_leaves_no_process(api, server, upstream):
    """The last to use the server."""
    go_on = asyncio.Event()
    upstream.queue("/last", sse([word("하나"), Wait(go_on), word(" two")]))
    async with (
        asyncio.timeout(2 * DEADLINE),
        talking(server.url.rstrip("/")) as idle,
        api.stream("relayed", path="/last") as reading,
    ):
        assert await reading.event() == data("하나")
        os.kill(root_of(server), signal.SIGTERM)
        assert (await idle.ended())[0] == 1001
        refused = await until(lambda: api.run("words", text="one"), lambda answer: answer.status != 200)
        assert (refused.status, refused.error()["type"]) == (503, "unavailable")
        assert refused.error()["message"] == "the server is stopping"
        go_on.set()
        assert await reading.rest() == data(" two") + END
    await gone(server)


async def test_serve_run_serves_its_config_with_ray_s_own_flags_and_ends(tmp_path):
    def command(port: int, _: Path) -> list[str]:
        config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
        assert config["http_options"]["port"] == 8080, "the streaming page's curl commands name it"
        config["http_options"]["port"] = port
        (tmp_path / "serve_config.yaml").write_text(yaml.safe_dump(config))
        return [
            "env",
            *(f"{flag}=0" for flag in FAST),
            str(SCRIPTS / "serve"),
            "run",
            str(tmp_path / "serve_config.yaml"),
        ]

    with serving(System("serve-run", "serve run", command, on_ray=False)) as server:
        async with calling(server.url.rstrip("/")) as api:
            assert (await api.get("/ready")).status == 200
            answer = await api.run("chat", prompt="What is anabranch?", temperature=0)
            text = answer.body.decode().replace("data: ", "").replace("\n\n", "")
            assert "YAML" in text
            assert answer.body.endswith(END)
        await ends(server)


async def test_serve_build_writes_a_config_with_one_deployment_for_each_component(tmp_path):
    await asyncio.to_thread(
        subprocess.run,
        [str(SCRIPTS / "serve"), "build", "graphs.app:app", "-o", str(tmp_path / "built.yaml")],
        cwd=ROOT, env={**os.environ, "ANABRANCH_CONFIG": "configs/hello.yaml"}, capture_output=True, check=True,
    )  # fmt: skip
    (application,) = yaml.safe_load((tmp_path / "built.yaml").read_text())["applications"]
    assert application["import_path"] == "graphs.app:app"
    assert {each["name"] for each in application["deployments"]} == {"echo", "shouter", "Ingress"}


async def ends(server: Server) -> None:
    """Interrupt the command, and see every process end."""
    os.kill(root_of(server), signal.SIGINT)
    await gone(server)


def root_of(server: Server) -> int:
    """The command's own process."""
    (root,) = [process for process in server.processes.find() if parent_of(process) == os.getpid()]
    return root.pid


async def gone(server: Server) -> None:
    """See every process end that carries the command's tag, or descends from one that does."""

    async def left() -> list[str]:
        return [process.name for process in server.processes.find()]

    await until(left, lambda left: not left, within=GONE_WITHIN)


def parent_of(process: Process) -> int | None:
    return int(process.stat[1]) if process.stat else None


def sse(steps) -> Answer:
    return Answer(steps, "text/event-stream")


def word(text: str) -> bytes:
    (event,) = events(f'{{"word": "{text}"}}')
    return event
