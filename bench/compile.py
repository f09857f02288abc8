"""Documents in; out, how long the compiler takes over 50 jobs, and `anabranch check` from the shell.

python -m bench.compile
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.systems import PEERS, ROOT, SCRIPTS

JOBS = 50
COMPILE_WITHIN = 0.050
CHECK_WITHIN = 0.5
RUNS = 9

HEAVY = ("ray", "torch", "fastapi", "aiohttp")
"""What compiling a document must not import."""

COMPILE = f"""
import json, sys, time
from deployments.components import registry
from graphs.load import load
types = registry()
times = []
for _ in range(10):
    began = time.perf_counter()
    load([sys.argv[1]], types)
    times.append(time.perf_counter() - began)
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps({{"times": times, "heavy": heavy}}))
"""
"""A process of its own, since a first time can be had only once."""


def document(jobs: int = JOBS) -> str:
    """Return a document that uses what documents use: conditions, joins, routers, defaults, casts, strings with bindings."""
    lines = [
        "components:",
        "  - id: words",
        "    type: echo",
        "    text: ${input.text as text}",
        "    interval: ${input.interval | 0}",
        "  - id: upstream",
        "    type: http-client",
        "    base_url: http://127.0.0.1:9",
        "    action:",
        "      path: /v1/chat/completions",
        "      body: {model: small, messages: '${input.messages}', stream: true}",
        "      stream_format: json",
        "      output: ${response[].choices[0].delta.content}",
        "workflow:",
        "  id: big",
        "  jobs:",
    ]
    for number in range(jobs):
        lines += _job(number)
    lines.append(f"  output: ${{jobs.job-{jobs - 1}.output as text;sse-text}}")
    return "\n".join(lines) + "\n"


def _job(number: int) -> list[str]:
    before = f"jobs.job-{number - 1}.output" if number else "input.text"
    head = [f"    - id: job-{number}"]
    if number % 5 == 4:
        return [
            *head,
            "      component: upstream",
            f"      depends_on: [job-{number - 3}]",
            "      retry: {max_attempts: 3, delay: 100ms}",
            "      input:",
            "        messages:",
            "          - {role: system, content: 'Answer in ${input.language | English}.'}",
            f"          - {{role: user, content: 'About ${{{before}}} and ${{jobs.job-{number - 2}.output}}'}}",
        ]
    if number % 5 == 3:
        head.append(f"      condition: ${{{before} != '' and not input.brief}}")
    return [
        *head,
        "      component: words",
        "      input:",
        f"        text: 'Step {number}: ${{{before} | nothing}}'",
        "        interval: ${input.pace as number | 0.01}",
    ]


def main() -> int:
    """Print the figures; 1 when a target is missed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "jobs.yaml"
        path.write_text(document())
        run = subprocess.run(
            [sys.executable, "-c", COMPILE, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            sys.exit(f"the document of {JOBS} jobs was not compiled: {run.stderr.strip()[-2000:]}")
        result = json.loads(run.stdout)
        first, again = result["times"][0], median(result["times"][1:])
        checks = {
            name: _check(file)
            for name, file in (("a small document", PEERS / "anabranch_one.yaml"), (f"{JOBS} jobs", path))
        }
    held = [
        _tell(f"compiling {JOBS} jobs, the first time", first, COMPILE_WITHIN),
        _tell(f"compiling {JOBS} jobs, again (median)", again, COMPILE_WITHIN),
        *(_tell(f"`anabranch check`, {name} (median of {RUNS})", took, CHECK_WITHIN) for name, took in checks.items()),
    ]
    light = not result["heavy"]
    print(f"- {'met' if light else '**not met**'}: compiling imports none of {', '.join(HEAVY)}", end="")
    print("" if light else f", but {', '.join(result['heavy'])}")
    return 0 if light and all(held) else 1


def _check(path: Path) -> float:
    """Return the median seconds of the command, as the shell sees it; the first run, which fills caches, is left out."""
    times: list[float] = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        done = subprocess.run(
            [str(SCRIPTS / "anabranch"), "check", str(path)], cwd=ROOT, capture_output=True, check=False
        )
        times.append(time.perf_counter() - began)
        if done.returncode != 0:
            sys.exit(f"anabranch check failed: {(done.stderr or done.stdout).decode()[-2000:]}")
    return median(times[1:])


def _tell(what: str, seconds: float, limit: float) -> bool:
    held = seconds <= limit
    print(f"- {'met' if held else '**not met**'}: {what}: {seconds * 1e3:.0f} ms, at most {limit * 1e3:.0f} ms")
    return held


if __name__ == "__main__":
    sys.exit(main())
