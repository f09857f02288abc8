"""`anabranch runs` against a server of the API of tasks: what is printed, where, and with which status it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphs.cli import main, runs_server, runs_text
from tests.cli.runs_server import AT, Run, Runs, text_run
from tests.local.acting import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
LOST = '{"error": {"type": "lost", "message": "the replica that ran it is gone"}}'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """A server at ANABRANCH_URL; what waits for it starts it again instead of sleeping."""
    found = Runs(text_run(texts=["Once", " upon\n", "a time"])).start()
    monkeypatch.setenv("ANABRANCH_URL", found.url)
    monkeypatch.setattr(runs_server, "sleep", lambda _: found.start())
    yield found
    found.stop()


def put(server: Runs, run: Run) -> None:
    server.runs[run.task["task_id"]] = run


def streams(server: Runs) -> list[str | None]:
    """Return what each reader of a stream had seen."""
    return [each.after for each in server.asked if each.path.endswith(("/stream", "/events"))]


Capture = pytest.CaptureFixture[str]


class TestFollow:
    def test_the_text_is_printed_as_it_is(self, server: Runs, capsys: Capture) -> None:
        assert main(["runs", "follow", "run_1"]) == 0
        assert capsys.readouterr() == ("Once upon\na time", "")

    @pytest.mark.parametrize("by_reset", [True, False])
    def test_a_cut_stream_is_read_on_where_it_was_cut(self, server: Runs, capsys: Capture, by_reset: bool) -> None:
        texts = [f"{number} " for number in range(100)]
        put(server, text_run(texts=texts))
        server.cuts, server.by_reset = [0, 1, 40, 7, 0, 0, 52], by_reset
        assert main(["runs", "follow", "run_1"]) == 0
        out, err = capsys.readouterr()
        assert out == "".join(texts)
        assert len(streams(server)) == 8
        assert by_reset or streams(server) == [None, None, "3", "43", "50", "50", "50", "102"]
        assert err.count("is lost") == err.count("answers again")
        assert (
            by_reset or err.count("is lost (it was cut); waiting for it") == 5
        )  # two in a row without an event between them are one
        assert err.startswith(f"the connection to {server.url} is lost (")

    def test_a_server_that_restarts_is_waited_for(self, server: Runs, capsys: Capture) -> None:
        server.cuts = [2]
        server.then = server.stop
        assert main(["runs", "follow", "run_1"]) == 0
        out, err = capsys.readouterr()
        assert out == "Once upon\na time"
        assert "waiting for it, Ctrl-C to stop\n" in err
        assert err.endswith(f"{server.url} answers again\n")

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (503, b'{"error": {"type": "unavailable", "message": "the store is locked"}}'),
            (404, b"Path '/api/tasks' not found."),
            (502, b"Bad Gateway"),
        ],
    )
    def test_a_server_that_isnt_ready_again_is_waited_for(
        self, server: Runs, capsys: Capture, status: int, body: bytes
    ) -> None:
        server.cuts, server.then = [1], lambda: server.refusals.extend([(status, body)] * 3)
        assert main(["runs", "follow", "run_1"]) == 0
        assert capsys.readouterr().out == "Once upon\na time"
        assert len(streams(server)) == 5

    def test_the_waits_grow_and_begin_anew_with_what_comes(
        self, server: Runs, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []
        monkeypatch.setattr(runs_server, "sleep", waits.append)
        monkeypatch.setattr(runs_server, "uniform", lambda _low, high: high)
        server.cuts, server.by_reset = [*[0] * 7, 1, 0, 0], False
        assert main(["runs", "follow", "run_1"]) == 0
        assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.2, 0.4, 0.8]

    def test_a_stream_that_ends_without_its_end_was_cut(
        self, server: Runs, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = server.runs["run_1"]
        whole, run.stream = run.stream, run.stream[:2]
        monkeypatch.setattr(runs_server, "sleep", lambda _: setattr(run, "stream", whole))
        assert main(["runs", "follow", "run_1"]) == 0
        out, err = capsys.readouterr()
        assert out == "Once upon\na time"
        assert "(it ended before the run did)" in err

    def test_a_run_that_fails_says_why_and_ends_with_1(self, server: Runs, capsys: Capture) -> None:
        put(server, text_run(texts=["Once"], end=(LOST, "error")))
        assert main(["runs", "follow", "run_1"]) == 1
        assert capsys.readouterr() == ("Once", "run run_1 failed: the replica that ran it is gone\n")

    def test_a_run_that_is_cancelled_ends_with_130(self, server: Runs, capsys: Capture) -> None:
        put(server, text_run(texts=["Once"], end=('{"error": {"type": "cancelled", "message": "stopped"}}', "error")))
        assert main(["runs", "follow", "run_1"]) == 130
        assert capsys.readouterr() == ("Once", "run run_1 was cancelled\n")

    @pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), ("cancelled", 130)])
    def test_a_run_that_was_read_to_its_end_tells_how_it_ended(
        self, server: Runs, capsys: Capture, status: str, code: int
    ) -> None:
        put(server, text_run(texts=["Once"], status=status))
        assert main(["runs", "follow", "run_1", "--after", "4"]) == code
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("status", [422, 499, 502, 503])
    def test_a_run_that_failed_before_it_gave_anything_isnt_waited_for(
        self, server: Runs, capsys: Capture, status: int
    ) -> None:
        error = {"type": "component_failed", "message": "no luck"}
        put(server, text_run(texts=[], status="failed", error=error))
        server.refusals = [(status, json.dumps({"error": error}).encode())]
        assert main(["runs", "follow", "run_1"]) == 1
        assert capsys.readouterr().err == "run run_1 failed: no luck\n"

    def test_it_begins_after_a_number(self, server: Runs, capsys: Capture) -> None:
        assert main(["runs", "follow", "run_1", "--after", "3"]) == 0
        assert capsys.readouterr().out == " upon\na time"

    def test_chunks_that_are_json_are_a_line_each(self, server: Runs, capsys: Capture) -> None:
        server.json = True
        put(server, text_run(texts=['{"word": "Once"}', "[1, 2]"]))
        assert main(["runs", "follow", "run_1"]) == 0
        assert capsys.readouterr().out == '{"word": "Once"}\n[1, 2]\n'

    def test_for_programs_every_event_is_a_line_of_json(self, server: Runs, capsys: Capture) -> None:
        put(server, text_run(texts=["é\n"]))
        assert main(["runs", "follow", "run_1", "--json"]) == 0
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
            {"id": 3, "event": "message", "data": "é\n"},
            {"id": 4, "event": "end", "data": ""},
        ]

    def test_every_event_is_a_line_until_the_last(self, server: Runs, capsys: Capture) -> None:
        put(server, said())
        server.cuts = [4]
        assert main(["runs", "follow", "run_1", "--events"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == [str(number) for number in range(10)]
        assert lines[2].split(maxsplit=2)[2] == "job_first_chunk  plan"
        assert lines[8].split(maxsplit=2)[2] == 'job_failed       tell  error={"type": "lost", "message": "gone"}'

    def test_every_event_for_programs_is_what_the_server_said_with_its_number(
        self, server: Runs, capsys: Capture
    ) -> None:
        put(server, said())
        assert main(["runs", "follow", "run_1", "--events", "--json"]) == 1
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == said().events

    def test_an_interrupt_leaves_at_once_without_a_traceback(self, server: Runs) -> None:
        put(server, text_run(texts=["Once"], end=None))
        command = [sys.executable, "-m", "graphs.cli", "runs", "follow", "run_1", "--url", server.url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.read(4) == "Once"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, out, err) == (130, "", "")


def said() -> Run:
    """A run of two jobs, the second of which was tried twice and failed."""
    types = [
        ("accepted", {}), ("job_started", {"job": "plan"}), ("job_first_chunk", {"job": "plan"}),
        ("job_ended", {"job": "plan"}), ("job_skipped", {"job": "check"}), ("job_started", {"job": "tell"}),
        ("job_retried", {"job": "tell"}), ("chunk", {"chunk": "Once"}),
        ("job_failed", {"job": "tell", "error": {"type": "lost", "message": "gone"}}),
        ("failed", {"error": {"type": "lost", "message": "gone"}}),
    ]  # fmt: skip
    run = text_run(
        texts=[], status="failed", last_event_id=9, completed_at="2030-01-01T12:01:05.000Z", session_id="s1",
        error={"type": "lost", "message": "gone"},
    )  # fmt: skip
    run.events = [{"id": id, "type": type, "at": AT.format(id * 100), **more} for id, (type, more) in enumerate(types)]
    return run


class TestShow:
    def test_the_run_its_jobs_and_its_error(self, server: Runs, capsys: Capture) -> None:
        put(server, said())
        assert main(["runs", "show", "run_1"]) == 0
        out = capsys.readouterr().out
        assert "run:       run_1\nworkflow:  story\nsession:   s1\nstatus:    failed\nstarted:   20" in out
        assert out.endswith(
            "took:      1 min 5 s\n"
            "\n"
            "JOB    STATUS     STARTED  FIRST CHUNK  TOOK\n"
            "plan   completed  100 ms   100 ms       200 ms\n"
            "check  skipped\n"
            "tell   failed     500 ms                300 ms  tried 2 times\n"
            "\n"
            "error (lost): gone\n"
        )
        assert server.asked[-1].query == {"chunks": "false"}

    def test_its_output_as_text_or_as_json(self, server: Runs, capsys: Capture) -> None:
        for output, shown in (("Once upon\na time", "\n\nOnce upon\na time\n"), ({"a": "é"}, '\n\n{\n  "a": "é"\n}\n')):
            run = text_run(texts=["Once"], output=output)
            run.events = [{"id": 4, "type": "completed", "at": AT.format(0)}]
            put(server, run)
            assert main(["runs", "show", "run_1"]) == 0
            assert capsys.readouterr().out.endswith(shown)

    def test_a_run_under_way_is_shown_as_far_as_it_is(
        self, server: Runs, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = said()
        run.events[6:] = [None]
        for last in (5, 7):  # 7: a chunk's number, which isn't sent
            run.task |= {"status": "streaming", "last_event_id": last}
            monkeypatch.setattr(runs_server, "STANDSTILL", 0.05)
            put(server, run)
            assert main(["runs", "show", "run_1"]) == 0
            assert "tell   running    500 ms\n" in capsys.readouterr().out

    def test_for_programs_the_task_and_its_events(self, server: Runs, capsys: Capture) -> None:
        put(server, said())
        assert main(["runs", "show", "run_1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"task": said().task, "events": said().events}


class TestList:
    def test_a_table_of_runs_newest_first(self, server: Runs, capsys: Capture) -> None:
        put(server, text_run("run_2", texts=[], workflow_id="a-longer-name", completed_at="2030-01-01T14:03:09.000Z"))
        put(server, text_run("run_3", texts=[], status="streaming", created_at="2999-01-01T00:00:00.000Z"))
        assert main(["runs", "list"]) == 0
        head, *rows = capsys.readouterr().out.splitlines()
        assert head.split() == ["RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK"]
        assert [row.split()[0] for row in rows] == ["run_3", "run_2", "run_1"]
        assert rows[0].endswith("0 ms so far")  # by a clock that is behind the server's
        assert rows[1].startswith("run_2  a-longer-name  completed  20")
        assert rows[1].endswith("  2 h 3 min")

    def test_as_many_as_are_asked_for_page_by_page(
        self, server: Runs, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runs_server, "PAGE", 2)
        for number in range(2, 8):
            put(server, text_run(f"run_{number}", texts=[]))
        for limit, ids in ((3, [7, 6, 5]), (6, [7, 6, 5, 4, 3, 2]), (9, [7, 6, 5, 4, 3, 2, 1])):
            assert main(["runs", "list", "--json", "--limit", str(limit)]) == 0
            page = json.loads(capsys.readouterr().out)
            assert [each["task_id"] for each in page["tasks"]] == [f"run_{number}" for number in ids]
            assert page["next"] == (None if limit == 9 else f"run_{ids[-1]}")

    def test_only_those_that_are_asked_for(self, server: Runs, capsys: Capture) -> None:
        put(server, text_run("run_2", texts=[], session_id="a b&c"))
        assert main(["runs", "list", "--workflow", "story", "--status", "completed", "--session", "a b&c"]) == 0
        assert [row.split()[0] for row in capsys.readouterr().out.splitlines()[1:]] == ["run_2"]
        assert main(["runs", "list", "--workflow", "other"]) == 0
        assert capsys.readouterr() == ("", "there are no such runs\n")


class TestCancelAndReplay:
    def test_a_run_is_cancelled(self, server: Runs, capsys: Capture) -> None:
        put(server, text_run(texts=[], end=None))
        assert main(["runs", "cancel", "run_1"]) == 0
        assert capsys.readouterr().out == "run run_1 is cancelled\n"

    def test_a_run_that_had_ended_is_told_as_it_is(self, server: Runs, capsys: Capture) -> None:
        assert main(["runs", "cancel", "run_1"]) == 0
        assert capsys.readouterr().out == "run run_1 had ended: it is completed\n"

    @pytest.mark.parametrize(("pace", "query"), [([], {}), (["--pace", "real"], {"pace": "real"})])
    def test_a_run_that_has_ended_is_replayed(
        self, server: Runs, capsys: Capture, pace: list[str], query: dict[str, str]
    ) -> None:
        assert main(["runs", "replay", "run_1", *pace]) == 0
        assert capsys.readouterr().out == "Once upon\na time"
        assert server.asked[-1].query == query

    def test_a_run_that_still_runs_isnt_replayed(self, server: Runs, capsys: Capture) -> None:
        put(server, text_run(texts=["Once"], end=None))
        assert main(["runs", "replay", "run_1"]) == 1
        assert capsys.readouterr() == ("", "run run_1 still runs; write `anabranch runs follow run_1`\n")


EVERY = pytest.mark.parametrize("command", [["show"], ["follow"], ["follow", "--events"], ["cancel"], ["replay"]])


@EVERY
def test_an_unknown_run_is_one_line(server: Runs, capsys: Capture, command: list[str]) -> None:
    assert main(["runs", *command, "../nope/ä"]) == 1
    assert capsys.readouterr() == ("", "there is no run '../nope/ä'\n")


@EVERY
def test_a_server_that_isnt_there_is_one_line(server: Runs, capsys: Capture, command: list[str]) -> None:
    server.stop()
    assert main(["runs", *command, "run_1"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"no server answers at {server.url} (Connection refused); ")


def test_a_store_that_is_down_is_one_line(server: Runs, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(handler: object, query: object) -> None:
        handler._error(503, "unavailable", "the store is locked")  # type: ignore[attr-defined]

    monkeypatch.setattr("tests.cli.runs_server._Handler._page", down)
    assert main(["runs", "list"]) == 1
    assert capsys.readouterr() == ("", "the store is locked\n")


def test_another_server_is_told_as_such(server: Runs, capsys: Capture) -> None:
    assert main(["runs", "list", "--url", f"{server.url}/other"]) == 1
    assert capsys.readouterr() == ("", "there is no such path\n")
    server.runs["run_1"].task = {"hello": "world"}
    assert main(["runs", "show", "run_1", "--url", f"{server.url}/api/"]) == 1
    assert capsys.readouterr().err.startswith(f"no anabranch answers at {server.url} (another server answers, ")


@pytest.mark.parametrize("url", ["localhost:8080", "http://", "http://[::1", "http://host:port", "ftp://host"])
def test_an_address_that_is_none_says_what_to_write(capsys: Capture, url: str) -> None:
    assert main(["runs", "list", "--url", url]) == 1
    said = f"expected the address of a server, got '{url}'; write --url http://127.0.0.1:8080\n"
    assert capsys.readouterr() == ("", said)


def test_the_command_starts_without_what_only_servers_need() -> None:
    script = "import sys, graphs.cli.runs_server; print({'pydantic', 'asyncio', 'aiohttp', 'ray', 'fastapi'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.05, "50 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (3661, "1 h 1 min"),
    ],
)
def test_durations_are_in_units_that_people_use(seconds: float, shown: str) -> None:
    assert runs_text.duration(seconds) == shown
