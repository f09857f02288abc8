"""An http-server: a little server started as a process, called, killed, started again, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from deployments.components.http_server import HttpServer
from deployments.servers import server as servers
from deployments.servers.output import Output
from deployments.servers.server import Server, choose
from deployments.telemetry.redaction import Redactor
from graphs.component import Setup, Whole
from graphs.errors import AnabranchError, Unavailable, UpstreamFailed
from tests.fakes.calls import everything
from tests.servers.waiting import DEADLINE, gone

LITTLE = str(Path(__file__).parent.parent / "servers" / "little.py")
START = [sys.executable, "-S", LITTLE, "${port}"]
HEALTH = {"path": "/health", "interval": 0.1}
WORDS = ["한국어 ", "and ", "🙂"]

Serve = Callable[..., Awaitable[HttpServer]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(…)`: an http-server that runs the little server, closed after the test."""
    async with AsyncExitStack() as stack:

        async def make(*options: str, **config: Any) -> HttpServer:
            written = {"start": [*START, *options], "healthcheck": HEALTH, **config}
            component = HttpServer(HttpServer.Config.model_validate(written), Setup(id="little"))
            stack.push_async_callback(component.close)
            await component.setup()
            return component

        yield make


async def call(component: HttpServer, path: str, method: str = "POST", **action: Any) -> list[Any]:
    return await everything(component.run(HttpServer.Input.model_validate({"path": path, "method": method, **action})))


async def who(component: HttpServer) -> dict[str, Any]:
    (whole,) = await call(component, "/who", "GET")
    assert isinstance(whole, Whole)
    return whole.value  # type: ignore[return-value]


async def refusal(serve: Serve, *options: str, **config: Any) -> str:
    with pytest.raises(Unavailable) as refused:
        await serve(*options, **config)
    return refused.value.message


async def kill(component: HttpServer) -> dict[str, Any]:
    """Kill the server, and return who it was once it is gone."""
    it = await who(component)
    os.kill(it["pid"], signal.SIGKILL)
    assert await gone(it["pid"])
    return it


def contents(chunks: list[Any]) -> list[str]:
    return [chunk["choices"][0]["delta"]["content"] for chunk in chunks]


# calls


async def test_its_answer_streams(serve: Serve):
    component = await serve()
    chunks = await call(component, "/v1/chat/completions", body={"stream": True}, stream_format="json")
    assert contents(chunks) == WORDS


async def test_a_job_that_it_starts_is_asked_for_until_it_is_done(serve: Serve):
    completion = {"type": "polling", "path": "/jobs/7", "status": "state", "interval": 0.01}
    (whole,) = await call(await serve(), "/jobs", body={}, completion=completion)
    assert whole == Whole({"state": "done", "text": "한국어"})


async def test_an_answer_that_refuses_keeps_its_status(serve: Serve):
    with pytest.raises(UpstreamFailed, match="component 'little'") as failed:
        await call(await serve(), "/no/such", body={})
    assert failed.value.details["upstream"] == {"status": 404, "body": {"error": "no such path"}}


async def test_its_environment_and_folder_are_as_written(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    it = await who(await serve(env={"SAYS": "on ${port}"}, working_dir=str(tmp_path)))
    assert it["SAYS"] == f"on {it['port']}"
    assert it["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert it["cwd"] == os.path.realpath(tmp_path)  # noqa: ASYNC240  (a temporary folder)


async def test_every_replica_has_a_port_of_its_own(serve: Serve):
    replicas = [await serve() for _ in range(3)]
    assert len({(await who(replica))["port"] for replica in replicas}) == 3


async def test_what_it_says_is_in_the_log_under_its_name(serve: Serve, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "anabranch.servers")
    await serve()
    assert "little | little server starts" in caplog.messages


async def test_a_server_on_the_loopback_of_ipv6_is_found(serve: Serve):
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    ipv6 = "import sys,http.server as h,socket;h.HTTPServer.address_family=socket.AF_INET6;"
    ipv6 += "h.HTTPServer(('::1',int(sys.argv[1])),h.SimpleHTTPRequestHandler).serve_forever()"
    component = await serve(start=[sys.executable, "-c", ipv6, "${port}"], healthcheck={"interval": 0.1})
    assert await call(component, "/", "GET", stream_format="text")


# starts


async def test_a_server_that_exits_at_once_says_why(serve: Serve, tmp_path: Path):
    said = await refusal(serve, "--once", str(tmp_path))
    assert said == (
        "its server ended with status 1 before it was ready; it said last:\nTraceback: no such model"
    )  # fmt: skip


async def test_a_server_that_goes_into_the_background_is_refused(serve: Serve):
    said = await refusal(serve, start="sleep 1000 & echo ${port}")
    assert "ended with status 0 before it was ready; `start` must stay in the foreground" in said


async def test_a_server_that_is_never_ready_says_what_it_answers(serve: Serve):
    said = await refusal(serve, "--unwell", healthcheck={**HEALTH, "max_wait": 2})
    assert re.search(r"not ready within 2 s \(`max_wait`\): GET /health on port \d+ answered with status 503", said)
    assert '"GET /health HTTP/1.1" 503' in said


async def test_no_secret_stands_in_what_a_server_says(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "anabranch.servers")
    config = HttpServer.Config.model_validate({"start": "echo the key is abcd-1234; exit 3", "port": choose(0, None)})
    component = HttpServer(config, Setup("little", Redactor({"abcd-1234"}).text))
    with pytest.raises(Unavailable, match=r"it said last:\nthe key is \*\*\*$"):
        await component.setup()
    assert "little | the key is ***" in caplog.messages


async def test_a_server_that_never_listens_says_so(serve: Serve):
    said = await refusal(serve, start="echo loading; sleep 1000; ${port}", healthcheck={**HEALTH, "max_wait": 0.5})
    assert re.search(r"`max_wait`\): nothing listens on port \d+; it said last:\nloading", said)


async def test_without_a_path_any_answer_is_a_good_one(serve: Serve):
    assert await who(await serve(healthcheck={"interval": 0.1}))


async def test_a_command_that_is_not_there_is_named(serve: Serve):
    assert "there is no command 'no-such-server'" in await refusal(serve, start=["no-such-server", "${port}"])


async def test_a_wanted_port_that_is_taken_gives_way_to_a_free_one(serve: Serve):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        assert (await who(await serve(port=taken)))["port"] != taken


async def test_a_fixed_port_that_is_taken_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "PORT_DEADLINE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        said = await refusal(serve, start=[*START[:3], str(taken)], port=taken)
    assert f"port {taken} is taken on this machine" in said
    assert "write `port: 0`, and ${port} in `start`" in said


async def test_a_port_that_is_taken_in_between_is_left_for_another(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        chosen = iter([taken])
        choose = servers.choose
        monkeypatch.setattr(servers, "choose", lambda *asked: next(chosen, None) or choose(*asked))
        # Somebody else answers on that port, and well; ours has died of it.
        said = await who(await serve())
        assert said["port"] != taken


async def test_a_setup_that_is_given_up_leaves_no_process(serve: Serve, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "anabranch.servers")
    starting = asyncio.create_task(serve(start="echo $$; sleep 1000; ${port}"))
    async with asyncio.timeout(DEADLINE):
        while not caplog.messages:  # noqa: ASYNC110  (a log tells nobody what comes in)
            await asyncio.sleep(0.01)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    assert await gone(int(caplog.messages[0].removeprefix("little | ")))


# deaths


async def test_a_server_that_dies_is_started_again_on_its_port(serve: Serve):
    component = await serve()
    before = await kill(component)
    after = await who_again(component, before["pid"])
    assert after["port"] == before["port"]
    await component.healthy()


async def who_again(component: HttpServer, before: int) -> dict[str, Any]:
    """Ask until another process answers; the news of a death takes a moment."""
    async with asyncio.timeout(DEADLINE):
        while True:
            with suppress(AnabranchError):
                if (it := await who(component))["pid"] != before:
                    return it
            await asyncio.sleep(0.01)


async def test_a_stream_that_its_servers_death_cuts_says_so(serve: Serve):
    component = await serve()
    asked = {"path": "/v1/chat/completions", "body": {"dies": True}, "stream_format": "json"}
    stream = component.run(HttpServer.Input.model_validate(asked))
    assert contents([await anext(stream)]) == WORDS[:1]
    with pytest.raises(Unavailable) as cut:
        await anext(stream)
    assert cut.value.message.startswith("component 'little': POST 127.0.0.1:")
    assert "its server was killed by SIGKILL; it said last:" in cut.value.message
    assert cut.value.message.endswith("out of memory")


async def test_a_stream_without_its_end_mark_fails_though_its_server_lives(serve: Serve):
    component = await serve()
    asked: Any = {"path": "/v1/chat/completions", "body": {"cuts": True}, "stream_format": "json"}
    with pytest.raises(UpstreamFailed, match=r"3 chunks came, but no finish_reason and no \[DONE\]"):
        await call(component, **asked)
    assert contents(await call(component, **asked, complete=False)) == WORDS


@pytest.mark.parametrize("start", [START, f"{' '.join(START)}; exit 1"], ids=["itself", "under a shell"])
@pytest.mark.parametrize("stream_format", [None, "text"])
async def test_an_answer_that_only_its_connection_ends_is_cut_by_its_servers_death(
    serve: Serve, start: Any, stream_format: str | None
):
    component = await serve(start=start, max_retries=0)
    with pytest.raises(Unavailable, match=r"broke off in the middle: its server (was killed|ended with status 1)"):
        await call(component, "/endless", body={"dies": True}, stream_format=stream_format)


async def test_the_end_of_such_an_answer_waits_for_no_news(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "NEWS", 2 * DEADLINE)
    component = await serve()
    async with asyncio.timeout(DEADLINE):
        assert await call(component, "/endless", body={}) == [Whole("".join(WORDS))]


@pytest.mark.parametrize("moves", [False, True], ids=["on its port", "on another"])
async def test_a_call_whose_connection_is_refused_waits_for_the_server(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, moves: bool
):
    component = await serve(max_retries=0)
    transport = component._exchange._transport  # type: ignore[union-attr]
    send = transport.send
    before: list[dict[str, Any]] = []

    async def send_too_late(request: Any) -> Any:
        monkeypatch.undo()
        before.append(await kill(component))
        if moves:
            monkeypatch.setattr(servers, "choose", lambda *_: choose(0, None))
        return await send(request)

    monkeypatch.setattr(transport, "send", send_too_late)
    after = await who(component)
    assert after["pid"] != before[0]["pid"]
    assert (after["port"] != before[0]["port"]) is moves


async def test_while_it_is_down_calls_are_refused_and_the_replica_is_unhealthy(serve: Serve, tmp_path: Path):
    broken = tmp_path / "broken"
    component = await serve("--once", str(broken), timeout=0.2)
    broken.touch()
    await kill(component)
    with pytest.raises(Unavailable, match=r"component 'little'.*its server"):
        await who(component)
    with pytest.raises(Unavailable) as unhealthy:
        await component.healthy()
    assert unhealthy.value.message.startswith("component 'little': its server ")
    assert "it said" not in unhealthy.value.message  # which may hold secrets, and Serve's controller knows none
    broken.unlink()
    assert (await who_again(component, 0))["pid"]


async def test_a_call_waits_for_a_server_that_comes_back(serve: Serve):
    component = await serve()
    assert component._server is not None
    fallen = component._server._changed
    await kill(component)
    await fallen.wait()
    assert (await who(component))["pid"]


async def test_one_that_keeps_dying_is_started_ever_more_rarely(serve: Serve, tmp_path: Path):
    delays: list[float] = []
    enough = asyncio.Event()

    async def sleep(delay: float) -> None:
        delays.append(delay)
        if len(delays) == 7:
            enough.set()
            await asyncio.Event().wait()

    broken = tmp_path / "broken"
    config = HttpServer.Config.model_validate({"start": [*START, "--once", str(broken)], "healthcheck": HEALTH})
    server = Server("little", config, Output("little"), sleep)
    await server.start()
    try:
        assert server._up is not None
        broken.touch()
        os.kill(server._up.process.pid, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            await enough.wait()
    finally:
        await server.stop()
    assert delays == [1, 2, 4, 8, 16, 30, 30]


async def test_a_server_that_is_no_longer_well_makes_the_replica_unhealthy(serve: Serve, tmp_path: Path):
    component = await serve(start=[sys.executable, "-m", "http.server", "${port}"], working_dir=str(tmp_path),
                            healthcheck={"path": "/", "interval": "1ms"})  # fmt: skip
    await component.healthy()
    os.rmdir(tmp_path)  # noqa: PTH106  (a temporary folder)
    with pytest.raises(Unavailable, match=r"its server is not healthy: GET / on port .* answered with status 404"):
        await component.healthy()


# ends


async def test_closing_stops_it_gently(serve: Serve, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "anabranch.servers")
    component = await serve()
    it = await who(component)
    await component.close()
    assert await gone(it["pid"])
    assert "little | little server stops" in caplog.messages


async def test_closing_kills_what_does_not_hear_and_what_went_its_own_way(serve: Serve):
    component = await serve("--deaf", "--brood", stop_timeout=0.2)
    it = await who(component)
    await component.close()
    assert await gone(it["pid"])
    assert await gone(it["brood"])


async def test_its_scripts_run_around_it(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = tmp_path / "done"
    scripts = {name: f"echo {name} >> {done}" for name in ("install", "build", "clean")}
    component = await serve(**scripts)
    await component.close()
    assert done.read_text().split() == ["install", "build", "clean"]
