"""Ray and Serve, started in this process with resources that only count; their addresses out."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    import ray
    from ray import serve


@dataclass(frozen=True)
class Cluster:
    url: str
    """Where Serve's proxy listens."""
    dashboard: str
    """Where Ray's REST API listens, if it was asked for."""


@contextmanager
def running(dashboard: bool = False) -> Iterator[Cluster]:
    dashboard_port = free_port()
    ray.init(
        num_cpus=8,
        num_gpus=3,
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        dashboard_port=dashboard_port,
        namespace="tests",
        log_to_driver=False,
        logging_level=logging.WARNING,
        _node_ip_address="127.0.0.1",
    )
    port = free_port()  # now that Ray's own processes have taken theirs
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield Cluster(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}")
    finally:
        # With Ray's throughput flag handles live on the tests' own loop, which is closed by now.
        if os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED") != "1":
            serve.shutdown()
        ray.shutdown()


AGENT_PORT = 52365
"""Where the agent of Ray's dashboard listens, whatever else does: it lies among those that are given out as free."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return port if port != AGENT_PORT else free_port()
