"""model-compose: the version that is measured, and the command that serves its document."""

from __future__ import annotations

from bench.peers.environment import Environment
from bench.systems import PEERS

VERSION = "0.4.120"
ENVIRONMENT = Environment("model-compose", VERSION, (f"model-compose=={VERSION}",))


def command(port: int) -> list[str]:
    """Return what serves its document on that port."""
    return [ENVIRONMENT.program, "--file", str(PEERS / "model_compose.yaml"), "up", "--env", f"PORT={port}"]
