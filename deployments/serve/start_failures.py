"""What Ray says of deployments that failed -> why, in a line for each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from graphs.checker import INGRESS

LONGEST = 600
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
OURS = re.compile(r"^graphs\.errors\.\w+: ", re.MULTILINE)
FRAMES = re.compile(
    r"^(?:.*Traceback \(most recent call last\):|  File \".*\", line \d+.*)\n(?:[ \t]+.*\n)+", re.MULTILINE
)
ENVIRONMENT = "Failed to set up runtime environment"


def causes(messages: Mapping[str, str]) -> list[str]:
    """Return why deployments failed, of those whose message (by name) tells an error."""
    told = {name: text.partition("Error:\n")[2].strip() for name, text in messages.items()}
    return [_cause(name, COLOURS.sub("", text)) for name, text in told.items() if text]


def _cause(name: str, text: str) -> str:
    ours = OURS.search(text)
    if ours is not None:  # it names the component and its place itself
        return _on_one_line(text[ours.end() :])
    what = "the runtime_env of " if ENVIRONMENT in text else ""
    who = "the ingress" if name == INGRESS else f"component '{name}'"
    frames = list(FRAMES.finditer(f"{text}\n"))
    said = text[frames[-1].end() :] if frames else text
    return f"{what}{who} could not be {'set up' if what else 'started'}: {_on_one_line(said)}"


def _on_one_line(text: str) -> str:
    """Return the first line and the last: what lies between are a program's other words."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = " ".join(lines if len(lines) < 3 else (lines[0], lines[-1]))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
