"""One small cluster for each module of tests, with CPUs and GPUs that only count."""

import logging
import os
import socket
import warnings
from collections.abc import Iterator

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    import ray
    from ray import serve

    from tests.ray.drill import Latch


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def latch(cluster: str) -> Iterator[None]:
    """Start the actor behind `tell` and `told`."""
    actor = ray.remote(Latch).options(name="latch", namespace="tests", num_cpus=0, max_concurrency=1000).remote()
    yield
    ray.kill(actor)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start Ray and Serve; yield the URL that Serve's proxy listens on."""
    port = free_port()
    ray.init(
        num_cpus=8,
        num_gpus=3,
        include_dashboard=False,
        namespace="tests",
        log_to_driver=False,
        logging_level=logging.WARNING,
        _node_ip_address="127.0.0.1",
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
    finally:
        # With Ray's throughput flag handles live on the tests' own loop, which is closed by now.
        if os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED") != "1":
            serve.shutdown()
        ray.shutdown()
