"""One small cluster for each module of tests, with CPUs and GPUs that only count."""

from collections.abc import Iterator

import pytest

from tests.serve.clusters import ray, running
from tests.serve.drill import Latch


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start Ray and Serve; yield the URL that Serve's proxy listens on."""
    with running() as cluster:
        yield cluster.url


@pytest.fixture(scope="module")
def latch(cluster: str) -> Iterator[None]:
    """Start the actor behind `tell` and `told`."""
    actor = ray.remote(Latch).options(name="latch", namespace="tests", num_cpus=0, max_concurrency=1000).remote()
    yield
    ray.kill(actor)
