"""LiteLLM's proxy: the versions that are measured, and the command that serves its document."""

from __future__ import annotations

from collections.abc import Mapping

from bench.peers.environment import Environment
from bench.systems import HOST, PEERS, ROOT

LOCK = ROOT / "locks" / "litellm.txt"
VERSION = next(line.partition("==")[2] for line in LOCK.read_text().splitlines() if line.startswith("litellm=="))
ENVIRONMENT = Environment("litellm", VERSION, ("--requirement", str(LOCK)))

TOLD: Mapping[str, str] = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    # Prices from its own package, not from the network.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # No key to check: that is one thing less which a request costs.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


def command(port: int) -> list[str]:
    """Return what serves its document on that port, in one worker."""
    document = str(PEERS / "litellm.yaml")
    where = ["--host", HOST, "--port", str(port)]
    return [ENVIRONMENT.program, "--config", document, *where, "--num_workers", "1"]
