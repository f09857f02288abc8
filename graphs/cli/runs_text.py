"""Runs as people read them: tasks and events in, lines of text out. Times are those of the reader's clock and zone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

ENDS = {"job_ended": "completed", "job_failed": "failed", "job_skipped": "skipped"}
"""Events that end a job, each with what the job is then."""


def table(tasks: Sequence[Json]) -> Iterator[str]:
    """Yield a line for each run, under a head."""
    rows = [
        (each["task_id"], each["workflow_id"], each["status"], _local(each["created_at"]), _took(each))
        for each in tasks
    ]
    return _aligned([("RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK"), *rows])


def described(task: Json, events: Sequence[Json]) -> Iterator[str]:
    """Yield what there is to say of one run: itself, its jobs, and its output or error."""
    about = {
        "run": task["task_id"],
        "workflow": task["workflow_id"],
        "session": task.get("session_id"),
        "status": task["status"],
        "started": _local(task["created_at"]),
        "took": _took(task),
    }
    yield from _aligned([(f"{name}:", value) for name, value in about.items() if value])
    if jobs := list(_jobs(task, events)):
        yield from ["", *_aligned([("JOB", "STATUS", "STARTED", "FIRST CHUNK", "TOOK", ""), *jobs])]
    if (error := task.get("error")) is not None:
        yield from ["", f"error ({error['type']}): {error['message']}"]
    elif (output := task.get("output")) is not None:
        yield from ["", output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, indent=2)]


def line(number: str, said: Json) -> str:
    """Return one event as a line: its number, when it came, its type, and what else it says."""
    rest = {name: value for name, value in said.items() if name not in ("type", "at", "job")}
    told = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in rest.items()]
    clock = _parsed(said["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    return "  ".join(
        part for part in (f"{number:>6}", clock, f"{said['type']:15}", said.get("job"), *told) if part
    ).rstrip()


def duration(seconds: float) -> str:
    """Return a duration in the units that people would use for it."""
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds >= 0.9995 else f"{seconds * 1000:.0f} ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _jobs(task: Json, events: Sequence[Json]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each job that has begun or was skipped; its times count from the run's start and from its own."""
    start, by_job = _parsed(task["created_at"]), dict[str, dict[str, Json]]()
    retries: dict[str, int] = {}
    for each in events:
        if (job := each.get("job")) is not None:
            by_job.setdefault(job, {})[each["type"]] = each
            retries[job] = retries.get(job, 0) + (each["type"] == "job_retried")
    for job, said in by_job.items():
        begun = _parsed(said["job_started"]["at"]) if "job_started" in said else None
        end = next((said[name] for name in ENDS if name in said), None)
        status = "running" if end is None else ENDS[end["type"]]
        first = said.get("job_first_chunk")
        yield (
            job,
            status,
            _since(start, begun),
            _since(begun, _parsed(first["at"]) if first else None),
            _since(begun, _parsed(end["at"]) if end else None),
            f"tried {retries[job] + 1} times" if retries[job] else "",
        )


def _since(earlier: datetime | None, later: datetime | None) -> str:
    return "" if earlier is None or later is None else duration(max((later - earlier).total_seconds(), 0.0))


def _took(task: Json) -> str:
    ended = task.get("completed_at")
    until = _parsed(ended) if ended else datetime.now(UTC)
    return _since(_parsed(task["created_at"]), until) + ("" if ended else " so far")


def _local(moment: str) -> str:
    return _parsed(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _parsed(moment: str) -> datetime:
    return datetime.fromisoformat(moment)


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
