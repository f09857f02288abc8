"""The fixtures of component tests: most of what `deployments/upstream` does is seen through an http-client."""

from tests.components.conftest import _no_proxy, ask, client, issued, trusted, upstream  # noqa: F401
