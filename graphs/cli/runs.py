"""`anabranch runs`: the runs that a server keeps, to list, look at, follow, cancel and replay, as text or as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from graphs.errors import Conflict

if TYPE_CHECKING:
    from graphs.cli.runs_server import Json, Server

NAME, HELP = "runs", "list, show, follow, cancel and replay the runs that a server keeps"
ADDRESS = "http://127.0.0.1:8080"
STATUSES = ("pending", "processing", "streaming", "completed", "failed", "cancelled")
ENDED = STATUSES[3:]
EXIT = {"completed": 0, "failed": 1, "cancelled": 130}
"""With which status following a run ends: cancelled is told as an interrupt is."""


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    address = os.environ.get("ANABRANCH_URL") or ADDRESS
    common.add_argument("--url", default=address, help=f"the server (default: ANABRANCH_URL, else {ADDRESS})")
    common.add_argument("--json", action="store_true", help="print what the server answers, for programs")

    def command(name: str, function: Any, what: str, more: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what + more, parents=[common])
        added.set_defaults(of_runs=function)
        if name != "list":
            added.add_argument("id", metavar="ID", help="the run's id")
        return added

    listing = command("list", _list, "list runs, newest first")
    listing.add_argument("--workflow", help="only those of this workflow")
    listing.add_argument("--status", choices=STATUSES, help="only those with this status")
    listing.add_argument("--session", help="only those of this session")
    listing.add_argument("--limit", type=_from_one, default=20, help="how many at most (default: 20)")
    command("show", _show, "show a run, its jobs and its output")
    ends = "; exits with 0 if the run completed, 1 if it failed, 130 if it was cancelled"
    again = "; waits for a server that restarts, and reads on" + ends
    follow = command("follow", _follow, "print a run's output while it comes", again)
    follow.add_argument("--after", type=_count, metavar="N", help="begin after the event with this number")
    follow.add_argument("--events", action="store_true", help="print a line for everything that the run says")
    command("cancel", _cancel, "cancel a run")
    replay = command("replay", _replay, "print the output of a run that has ended", ends)
    replay.add_argument("--pace", choices=("real",), help="real: as slowly as it came (default: at once)")


def run(args: argparse.Namespace) -> int:
    from graphs.cli.runs_server import Server

    return args.of_runs(Server(args.url), args)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return int(text)


def _from_one(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("expected a number from 1, got 0")
    return int(text)


def _list(server: Server, args: argparse.Namespace) -> int:
    from graphs.cli import runs_text

    asked = {"workflow_id": args.workflow, "status": args.status, "session_id": args.session}
    tasks, before = server.tasks(asked, args.limit)
    if args.json:
        print(_json({"tasks": tasks, "next": before}, indent=2))
    elif tasks:
        print("\n".join(runs_text.table(tasks)))
    else:
        print("there are no such runs" if any(asked.values()) else "there are no runs", file=sys.stderr)
    return 0


def _show(server: Server, args: argparse.Namespace) -> int:
    from graphs.cli import runs_text

    task = server.task(args.id)
    events = server.said_until_now(task)
    if args.json:
        print(_json({"task": task, "events": events}, indent=2))
    else:
        print("\n".join(runs_text.described(task, events)))
    return 0


def _cancel(server: Server, args: argparse.Namespace) -> int:
    task = server.cancel(args.id)
    if args.json:
        print(_json(task, indent=2))
    elif task["status"] == "cancelled":
        print(f"run {args.id} is cancelled")
    elif task["status"] in ENDED:
        print(f"run {args.id} had ended: it is {task['status']}")
    else:
        print(f"run {args.id} is being cancelled")
    return 0


def _follow(server: Server, args: argparse.Namespace) -> int:
    from graphs.cli import runs_text

    task = server.task(args.id)
    if not args.events:
        return _print_output(server, args, task, args.after, {})
    for event in server.follow(args.id, "events", args.after, {}, _Output().note):
        said: Json = json.loads(event.data)
        print(_json({"id": _number(event.id), **said}) if args.json else runs_text.line(event.id, said), flush=True)
        if said["type"] in ENDED:
            return EXIT[said["type"]]
    return _end(server.task(args.id))


def _replay(server: Server, args: argparse.Namespace) -> int:
    task = server.task(args.id)
    if task["status"] not in ENDED:
        raise Conflict(f"run {args.id} still runs; write `anabranch runs follow {args.id}`")
    return _print_output(server, args, task, None, {"pace": args.pace})


def _print_output(
    server: Server, args: argparse.Namespace, task: Json, after: int | None, query: dict[str, str | None]
) -> int:
    """Print the chunks of a run's output as they come, and return with which status to exit."""
    output = _Output()
    end = "\n" if not args.json and server.gives_json(task["workflow_id"]) else ""
    for event in server.follow(args.id, "stream", after, query, output.note):
        if args.json:
            print(_json({"id": _number(event.id), "event": event.event, "data": event.data}), flush=True)
        elif event.event == "message":
            output.write(event.data + end)
        if event.event in ("end", "error"):
            output.end_line()
            return _end(task | _how_it_ended(event.event, event.data))
    output.end_line()
    return _end(server.task(args.id))


def _how_it_ended(event: str, data: str) -> Json:
    if event == "end":
        return {"status": "completed"}
    error = json.loads(data)["error"]
    return {"status": "cancelled" if error["type"] == "cancelled" else "failed", "error": error}


def _end(task: Json) -> int:
    """Say on stderr how a run ended that did not complete, and return with which status to exit."""
    status, error = task["status"], task.get("error") or {}
    if status != "completed":
        said = f": {error['message']}" if status == "failed" and "message" in error else ""
        print(f"run {task['task_id']} {'was cancelled' if status == 'cancelled' else 'failed'}{said}", file=sys.stderr)
    return EXIT[status]


def _number(id: str) -> int | None:
    return int(id) if id else None


def _json(value: Json, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


class _Output:
    """The text of a run on stdout. On a terminal, what is told of the connection begins on a line of its own."""

    def __init__(self) -> None:
        self._inside_line = False

    def write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._inside_line = not text.endswith("\n") if text else self._inside_line

    def end_line(self) -> None:
        if self._inside_line and sys.stdout.isatty():
            self.write("\n")

    def note(self, text: str) -> None:
        self.end_line()
        print(text, file=sys.stderr, flush=True)
