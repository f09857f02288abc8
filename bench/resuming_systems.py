"""The servers that keep runs: in one process, two over one store, and on Ray Serve; each told where its store is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.systems import HOST, PEERS, RUN, SCRIPTS, Server, System
from bench.upstream import RUNS

ECHO = "anabranch_one.yaml"
PASSING = "passing.yaml"
IN_THE_INGRESS = "in_the_ingress.yaml"

PLAIN = {**RUN}
RESUMABLE = {**RUN, "resumable": True, "on_disconnect": "cancel"}
"""As a plain run, it ends when the load leaves."""


def asked(server: Server, envelope: Mapping[str, Any]) -> Server:
    """Return the server, asked for its streams in another way."""
    return replace(server, system=replace(server.system, envelope=dict(envelope)))


def dev(key: str, title: str, document: str, store: Path | None = None) -> System:
    """Return `anabranch dev` with this document, whose runs lie in the store; in one of its own without any."""
    return System(key, title, _anabranch("dev", store, document), on_ray=False, path=RUNS, envelope=dict(PLAIN))


def placed(key: str, title: str, document: str) -> System:
    """Return `anabranch serve` with this document, its component in the ingress."""
    return System(key, title, _anabranch("serve", None, document, IN_THE_INGRESS), path=RUNS, envelope=dict(PLAIN))


def _anabranch(command: str, store: Path | None, *documents: str) -> Callable[[int, Path], list[str]]:
    def started(port: int, folder: Path) -> list[str]:
        where = folder / "store.yaml"
        where.write_text(json.dumps({"controller": {"store": f"sqlite:///{store or folder / 'runs.db'}"}}))
        paths = [*(str(PEERS / document) for document in documents), str(where)]
        return [str(SCRIPTS / "anabranch"), command, *paths, "--host", HOST, "--port", str(port)]

    return started
