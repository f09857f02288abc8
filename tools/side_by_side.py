"""Run several commands at once: python tools/side_by_side.py "make check" "make test-unit"

What each prints goes into a file of its own while it runs. Once all have ended, the whole of it is shown of those that failed, and
the last lines of the others. The status is 0 only if every command's is.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

LAST = 3
POLL = 0.2
INTERRUPTED = 130


@dataclass
class Job:
    command: str
    log: Path
    process: subprocess.Popen[bytes]
    began: float


def main(commands: list[str]) -> int:
    if not commands:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        jobs = [_start(command, Path(folder) / f"{place}.log") for place, command in enumerate(commands)]
        try:
            failed = _await(jobs)
        except KeyboardInterrupt:
            # The terminal has interrupted them as well.
            for job in jobs:
                job.process.wait()
            failed, status = jobs, INTERRUPTED
        else:
            status = 1 if failed else 0
        for job in sorted(jobs, key=failed.__contains__):
            _show(job, whole=job in failed)
    return status


def _start(command: str, log: Path) -> Job:
    print(f"{command}: under way, its output in {log}", flush=True)
    with log.open("wb") as out:
        process = subprocess.Popen(shlex.split(command), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    return Job(command, log, process, time.monotonic())


def _await(jobs: list[Job]) -> list[Job]:
    """Wait for the end of all, say when each one's came, and return those that failed."""
    left = list(jobs)
    while left:
        time.sleep(POLL)
        for job in [job for job in left if job.process.poll() is not None]:
            left.remove(job)
            took = time.monotonic() - job.began
            ended = f"failed with status {job.process.returncode}" if job.process.returncode else "passed"
            print(f"{job.command}: {ended} after {took:.0f} s", flush=True)
    return [job for job in jobs if job.process.returncode]


def _show(job: Job, *, whole: bool) -> None:
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    print("\n".join([f"---- {job.command}", *(lines if whole else lines[-LAST:])]), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
