"""Ray's messages about deployments that failed in, the causes out, a line for each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from graphs.checker import INGRESS
from graphs.errors import AnabranchError

LONGEST = 600
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
OURS = re.compile(rf"^{re.escape(AnabranchError.__module__)}\.\w+: ", re.MULTILINE)
"""How a traceback names our errors: a worker raises no other when its component can't be set up."""
FRAMES = re.compile(
    r"^(?:.*Traceback \(most recent call last\):|  File \".*\", line \d+.*)\n(?:[ \t]+.*\n)+", re.MULTILINE
)
ENVIRONMENT = "Failed to set up runtime environment"
BEFORE_ERROR = "Error:\n"
"""What Ray writes between its own words and the error; without it all of the message is shown."""


def causes(messages: Mapping[str, str]) -> list[str]:
    """Return why deployments failed, from Ray's messages by their names; a deployment without a message is left out."""
    return [_cause(name, COLOURS.sub("", _error(text))) for name, text in messages.items() if text.strip()]


def _error(message: str) -> str:
    before, found, error = message.partition(BEFORE_ERROR)
    return (error if found else before).strip()


def _cause(name: str, text: str) -> str:
    ours = OURS.search(text)
    if ours is not None:  # the message names the component and its place itself
        return _on_one_line(text[ours.end() :])
    what = "the runtime_env of " if ENVIRONMENT in text else ""
    subject = "the ingress" if name == INGRESS else f"component '{name}'"
    frames = list(FRAMES.finditer(f"{text}\n"))
    cause = text[frames[-1].end() :] if frames else text
    return f"{what}{subject} could not be {'set up' if what else 'started'}: {_on_one_line(cause)}"


def _on_one_line(text: str) -> str:
    """Return the first line and the last; those between are a program's other output."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = " ".join(lines if len(lines) < 3 else (lines[0], lines[-1]))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
