"""The processes that `ray.init` starts on this machine, without those that a served document doesn't need.

Ray has no setting for them, so this replaces parts of its private `Node`. What is replaced is checked when this module is
imported: a Ray that starts its processes in another way is refused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import _raylet
from ray._private import node, services, utils

from graphs.errors import Unavailable

raylet: Any = _raylet
AGENT_PORTS = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")
"""Raylet's names for the ports on which the agent would listen."""
NO_PORT = -1
"""What Ray's own agent writes for a service that it doesn't offer."""

AGENT_OPTION = "--dashboard_agent_command="
NO_AGENT = [sys.executable, "-I", "-S", str(Path(__file__).with_name("no_agent.py"))]
"""Raylet doesn't start without an agent, and ends when that ends."""


@contextmanager
def few_processes() -> Generator[None]:
    """Have `ray.init` start neither the dashboard and its agent, nor what starts further nodes of a cluster."""
    with _replaced(node, "Node", FewProcesses):
        yield


class FewProcesses(node.Node):
    """A head node with the processes that run actors, and that which shows what they print."""

    def start_monitor(self) -> None:
        """Start no autoscaler: this machine is the only node."""

    def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        """Start no dashboard."""

    def start_raylet(self, *args: Any, **options: Any) -> None:
        """Start raylet with an agent that does nothing."""
        for name in AGENT_PORTS:
            raylet.persist_port(self._session_dir, self._node_id, getattr(raylet, name), NO_PORT)
        with (
            _replaced(services, "start_ray_process", _without_agent(services.start_ray_process)),
            _replaced(utils, "get_dashboard_dependency_error", lambda: None),  # it imports them all to see
        ):
            super().start_raylet(*args, **options)


def _without_agent(start: Callable[..., Any]) -> Callable[..., Any]:
    def start_process(command: list[str], *args: Any, **options: Any) -> Any:
        agent = AGENT_OPTION + subprocess.list2cmdline(NO_AGENT)
        return start([agent if word.startswith(AGENT_OPTION) else word for word in command], *args, **options)

    return start_process


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Generator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


def _missing() -> Iterator[str]:
    for name in ("persist_port", *AGENT_PORTS):
        if name not in vars(raylet):
            yield f"raylet's {name}"
    methods = vars(node.Node)
    for name in ("start_monitor", "start_api_server", "start_raylet"):
        if name not in methods:
            yield f"the method {name} of nodes"
    if not {"_session_dir", "_node_id"} <= set(node.Node.start_raylet.__code__.co_names):
        yield "the folder and the id of a node"
    if f"{AGENT_OPTION}{{}}" not in services.start_raylet.__code__.co_consts:
        yield f"raylet's option {AGENT_OPTION}"
    if not {"start_ray_process", "get_dashboard_dependency_error"} <= set(services.start_raylet.__code__.co_names):
        yield "its functions that start a process and look for the dashboard"


def check() -> None:
    """Refuse a Ray that starts its processes in another way."""
    if missing := list(_missing()):
        raise Unavailable(
            f"Ray {ray.__version__} no longer has {', '.join(missing)}; see the range of ray in anabranch's pyproject.toml, "
            f"or write --dashboard, which starts Ray as it comes"
        )


check()
