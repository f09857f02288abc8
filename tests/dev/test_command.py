"""`anabranch dev` from its start to its end, as somebody meets it who writes a document beside it."""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientError

from deployments.dev.command import Server
from deployments.dev.graph import Front
from tests.dev.running import plug_in, running, until
from tests.fakes.http_server import Answer, Upstream, Wait, openai_events
from tests.serve.api import END, calling, data
from tests.transports.socketed import talking, text

DOCUMENT = """
workflow:
  output: ${output as text;sse-text}
components:
  - id: ask
    type: http-client
    default: true
    base_url: UPSTREAM
    action:
      path: ${input.path | /v1/chat/completions}
      body: {stream: true, about: "${input.about as text | it's \\"quoted\\"}", word: "${env.WORD}"}
      stream_format: json
      output: ${response[].choices[0].delta.content}
  - id: greedy
    type: echo
    resources: {num_gpus: 2}
    action: {text: hi}
"""


async def shell(command: str) -> bytes:
    process = await asyncio.create_subprocess_shell(f"{command} -sS", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


async def test_a_document_is_written_changed_broken_and_repaired_while_it_is_served(tmp_path: Path):
    path, env, opened = tmp_path / "my.yaml", tmp_path / ".env", tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nexec >&- 2>&-\necho "$1" > {opened}.new && mv {opened}.new {opened} && sleep 60\n')
    browser.chmod(0o755)
    path.write_text("component:\n  type: ecoh\n  action: {te")
    async with (
        Upstream() as upstream,
        running(tmp_path, "my.yaml", "--port", "0", "--open", BROWSER=str(browser)) as dev,
    ):
        # A mistake at the start is shown, and waits for a change.
        assert "my.yaml:3:" in await dev.until("Waiting for a change.")
        document = DOCUMENT.replace("UPSTREAM", upstream.base_url)
        path.write_text(document)
        assert "unknown variable" in (came := await dev.until("Waiting for a change.")) or "WORD" in came
        env.write_text("WORD=first-word\n")
        url = await dev.served()
        assert "Changed: .env." in dev.said
        assert "  greedy asks for 2 GPUs; dev runs it once, in this process\n" in dev.said
        assert "Serving my.yaml on" in dev.said
        await until(opened.exists)
        assert opened.read_text() == f"{url}/docs\n"

        # The command that it prints runs as it stands.
        upstream.queue("/v1/chat/completions", Answer(openai_events(["Once", " more"]), "text/event-stream"))
        assert await shell(dev.command) == data("Once", " more") + END

        go_on, words = asyncio.Event(), openai_events(["one", "two"])
        upstream.queue("/held", Answer([*words[:2], Wait(go_on), *words[2:]], "text/event-stream"))
        async with calling(url) as api, api.stream(path="/held") as reading:
            assert await reading.event() == data("one")
            # A change is served at once, and a stream under way ends with what it began with.
            env.write_text("WORD=second-word\n")
            said = await dev.until("began with")
            assert "component ask changed" in said
            assert "1 request under way ends with what it began with." in said
            assert (await api.run()).body == data("Once", " more") + END
            assert b"second-word" in upstream.calls[-1].body
            # A mistake later is shown, and what was loaded is still served.
            path.write_text(document.replace("type: echo", "type: ecoh"))
            said = await dev.until("still served")
            assert "did you mean 'echo'?" in said
            assert (await api.run()).body == data("Once", " more") + END
            path.unlink()
            assert "there is no document my.yaml" in await dev.until("still served")
            path.write_text(f"# Only a comment.\n{document}")
            await dev.until("nothing that runs has changed")
            go_on.set()
            assert await reading.rest() == data("two") + END

            # Ctrl-C lets a stream under way end.
            go_on.clear()
            async with api.stream(path="/held") as last:
                assert await last.event() == data("one")
                dev.stop()
                await dev.until("Press Ctrl-C again")
                go_on.set()
                assert await last.rest() == data("two") + END
        assert await dev.ended() == 0
    assert "Traceback" not in dev.said


ENDLESS = "component: {type: echo, action: {text: 'one two', interval: 1h}}\nworkflow: {output: '${output as text;sse-text}'}\n"


async def test_sockets_are_pinged_and_end_their_requests_when_it_is_stopped(tmp_path: Path):
    server = Server(Front(), lambda: None)
    server.take_frames(1000)
    assert (server.config.ws_ping_interval, server.config.ws_max_size) == (20.0, 2000)
    (tmp_path / "my.yaml").write_text(ENDLESS)
    async with running(tmp_path, "my.yaml", "--port", "0") as dev:
        url = await dev.served()
        async with talking(url) as idle, talking(url) as busy:
            await busy.ask("hi", model=None, request_id=1)
            assert text([await busy.frame(), await busy.frame()]) == "one"
            dev.stop()
            assert (await idle.ended())[0] == 1001
            await busy.say(type="cancel", request_id=1)
            assert (await busy.error())["code"] == "cancelled"
            assert (await busy.ended())[0] == 1001
        assert await dev.ended() == 0
    assert "Traceback" not in dev.said


async def test_a_second_ctrl_c_cuts_streams_that_have_not_ended(tmp_path: Path):
    (tmp_path / "my.yaml").write_text(ENDLESS)
    async with running(tmp_path, "my.yaml", "--port", "0") as dev:
        async with calling(await dev.served()) as api, api.stream() as reading:
            assert await reading.event() == data("one")
            dev.stop()
            await dev.until("Press Ctrl-C again")
            dev.stop()
            with suppress(ClientError):
                assert b"event: error" in await reading.rest()
        assert await dev.ended() == 0
        assert dev.session() == []
    assert "Traceback" not in dev.said


async def test_a_port_that_is_taken_and_a_host_of_another_machine_end_the_command_with_what_to_do(tmp_path: Path):
    (tmp_path / "my.yaml").write_text(ENDLESS)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        async with (
            running(tmp_path, "my.yaml", "--port", port) as taken,
            running(tmp_path, "my.yaml", "--host", "192.0.2.1", "--port", "0") as elsewhere,
            running(tmp_path, "my.yaml", "--host", "no-such-host.invalid", "--port", "0") as nowhere,
        ):
            assert (await taken.ended(), await elsewhere.ended(), await nowhere.ended()) == (1, 1, 1)
    assert f"port {port} on 127.0.0.1 is taken by another program" in taken.said
    assert "192.0.2.1 is not an address of this machine" in elsewhere.said
    assert "there is no host no-such-host.invalid" in nowhere.said
    assert "Traceback" not in taken.said + elsewhere.said + nowhere.said


SLOW = """
import asyncio
import pathlib
import time
from graphs.component import Component, Whole

class Slow(Component):
    type = "slow"

    async def setup(self):
        self.loading = asyncio.ensure_future(asyncio.to_thread(self.load))
        await asyncio.shield(self.loading)

    def load(self):
        pathlib.Path("loading").touch()
        time.sleep(600)

    async def close(self):
        await self.loading

    async def run(self, input):
        yield Whole("never")
"""
SERVER = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print('up', flush=True); time.sleep(600)"
LOADING = f"""
components:
  - {{id: slow, type: slow, action: {{}}}}
  - id: server
    type: http-server
    start: [{sys.executable}, -c, "{SERVER}", "${{port}}"]
    action: {{path: /}}
workflow: {{jobs: [{{component: slow}}]}}
"""


@pytest.mark.parametrize("served", [False, True], ids=["at the start", "after a change"])
async def test_ctrl_c_while_a_model_loads_ends_at_once_and_leaves_no_process(tmp_path: Path, served: bool):
    plug_in(tmp_path, "plugged_slow")
    (tmp_path / "plugged_slow.py").write_text(SLOW)
    path = tmp_path / "my.yaml"
    path.write_text(ENDLESS if served else LOADING)
    async with running(tmp_path, "my.yaml", "--port", "0") as dev:
        if served:
            await dev.served()
            path.write_text(LOADING)
        await until((tmp_path / "loading").exists)
        await until(lambda: descendants(dev.process.pid))
        children = descendants(dev.process.pid)
        dev.stop()
        assert await dev.ended() == (0 if served else 130)
        assert served or "Stopped." in dev.said
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert "Traceback" not in dev.said


def descendants(root: int) -> set[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root, os.getpid()}


WORD = """
from graphs.component import Component, Whole

class Word(Component):
    type = "word"

    async def run(self, input):
        yield Whole("{word}")
"""


async def test_code_of_a_type_that_is_being_written_is_loaded_again_when_it_changes(tmp_path: Path):
    code = tmp_path / "plugged_word.py"
    plug_in(tmp_path, "plugged_word")
    (tmp_path / "my.yaml").write_text("component: {type: word, action: {}}\n")
    code.write_text("class Word(")
    async with running(tmp_path, "my.yaml", "--port", "0") as dev:
        assert "can't be loaded: SyntaxError" in await dev.until("Waiting for a change.")
        code.write_text(WORD.format(word="one"))
        url = await dev.served()
        async with calling(url) as api:
            assert (await api.run()).json() == "one"
            code.write_text(WORD.format(word="two"))
            assert "Changed: plugged_word.py." in await dev.until("Loaded again")
            assert (await api.run()).json() == "two"
            code.write_text("raise SystemExit(7)")
            assert "can't be loaded: SystemExit: 7" in await dev.until("still served")
            assert (await api.run()).json() == "two"
            code.write_text(WORD.format(word="three"))
            await dev.until("Loaded again")
            assert (await api.run()).json() == "three"
        dev.stop()
        assert await dev.ended() == 0
    assert "Traceback" not in dev.said
