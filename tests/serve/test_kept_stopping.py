"""`anabranch serve`, told to stop while a run without a request is under way."""

import asyncio
import os
import signal
import sqlite3
from pathlib import Path

from bench.systems import SCRIPTS, System, serving
from tests.fakes.http_server import Answer, Upstream, Wait, events
from tests.serve.api import DEADLINE, calling, until
from tests.serve.test_fast_flags import gone, root_of

DOCUMENT = """
controller:
  placement: ingress
  store: "sqlite:///{store}"
component:
  type: http-client
  base_url: {base_url}
  action: {{path: /words, stream_format: json, output: "${{response[].word}}"}}
"""


async def test_told_to_stop_it_waits_for_a_run_without_a_request_and_keeps_its_end(tmp_path: Path):
    path, store, go_on = tmp_path / "document.yaml", tmp_path / "runs.db", asyncio.Event()
    async with Upstream() as upstream:
        path.write_text(DOCUMENT.format(store=store, base_url=upstream.base_url))
        steps = [*events('{"word": "하나"}'), Wait(go_on), *events('{"word": " two"}')]
        upstream.queue("/words", Answer(steps, "text/event-stream"))
        command = [str(SCRIPTS / "anabranch"), "serve", str(path), "--port"]
        system = System("kept", "anabranch serve", lambda port, _: [*command, str(port)], says="Serving ")
        with serving(system) as server:
            async with asyncio.timeout(2 * DEADLINE), calling(server.url.rstrip("/")) as api:
                answer = await api.post({"wait_for_completion": False})
                assert answer.status == 202, answer
                id = answer.json()["task_id"]
                await until(lambda: api.get(f"/api/tasks/{id}"), lambda task: task.json()["status"] == "streaming")
                os.kill(root_of(server), signal.SIGTERM)
                refused = await until(lambda: api.get("/ready"), lambda answer: answer.status == 503)
                assert refused.status == 503
                go_on.set()
            await gone(server)
    with sqlite3.connect(store) as connection:
        assert connection.execute("SELECT id, status FROM runs").fetchall() == [(id, "completed")]
        assert connection.execute("SELECT count(*) FROM owners").fetchall() == [(0,)]
