"""All that is used of Ray beyond what it documents, each with a check that this Ray still has it.

The checks run when this module is imported: in the command, and in every replica. A Ray that lacks one of these is
refused, with its version and what is missing, for without them calls would go on after their reader, components would not
be closed, and every update would restart everything: all of it in silence.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

from graphs.errors import Unavailable

__all__ = [
    "DeploymentStatus", "ReplicaState", "by_reference", "cancel_assigned", "check", "close_with_replica", "pin_version",
    "require_flags", "start_proxies", "wait_for_proxies",
]  # fmt: skip

try:
    from ray.serve._private import api, constants
    from ray.serve._private.client import ServeControllerClient
    from ray.serve._private.common import DeploymentStatus, ReplicaState
    from ray.serve._private.config import DeploymentConfig  # pyright: ignore[reportPrivateUsage]
    from ray.serve._private.replica import UserCallableWrapper
    from ray.serve.config import ControllerOptions
    from ray.serve.context import _get_global_client  # pyright: ignore[reportPrivateUsage]
    from ray.serve.handle import _DeploymentResponseBase  # pyright: ignore[reportPrivateUsage]
except ImportError as missing:
    raise Unavailable(
        f"anabranch doesn't fit Ray {ray.__version__}: {missing}; see its range in pyproject.toml"
    ) from None


def by_reference(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """Return the handle with arguments that travel as Ray objects: gRPC between replicas takes no more than 4 MB."""
    return handle.options(_by_reference=True)


def cancel_assigned(response: Any) -> None:
    """Cancel a call that Ray's own `cancel` missed: one that was assigned to a replica in the same turn of the loop."""
    result = response._replica_result  # noqa: SLF001
    if result is not None:
        with suppress(Exception):
            result.cancel()


def close_with_replica(callable: Any, close: Callable[[], Awaitable[None]]) -> None:
    """Have `close` awaited, once, when the replica that holds `callable` shuts down.

    Serve looks for `__del__` on the instance. On the class, Python would call it too, and leave its coroutine unawaited.
    """
    callable.__del__ = close


class PinnedConfig(DeploymentConfig):
    """A DeploymentConfig whose version stays what it was made with: Serve writes its own into it just before sending it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "version":
            super().__setattr__(name, value)


def pin_version(application: Application, version: str) -> Application:
    """Give the application's own deployment this version, whatever Serve would give it."""
    deployment = application._bound_deployment  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    config = deployment._deployment_config  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    pinned = PinnedConfig.model_construct(config.model_fields_set, **{**dict(config), "version": version})
    deployment._deployment_config = pinned  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    return application


def start_proxies(host: str, port: int) -> list[Any]:
    """Start Serve, and return what `ray.get` waits for until its proxies listen: `serve.start` waits before replicas start."""
    options = {"host": host, "port": port}
    _, listening = api._create_controller_and_proxy_refs(options, None, None, None, ControllerOptions())  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    return listening


def wait_for_proxies() -> None:
    """Wait until the proxies pass requests on to the replicas that are ready."""
    client = _get_global_client()
    assert client is not None, "it raises when Serve isn't there"
    client.wait_for_proxies_serving()


READ_INTO = {
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "CONTROL_LOOP_INTERVAL_S",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "PROXY_READY_CHECK_TIMEOUT_S",
}
"""Where Serve keeps what it read of a flag, if not under the flag's own name."""


def require_flags(flags: Mapping[str, str]) -> None:
    """Refuse a Ray that didn't read these variables of the environment: it would ignore them in silence."""
    unread = [name for name, value in flags.items() if not _has_read(name, value)]
    if unread:
        raise Unavailable(f"Ray {ray.__version__} doesn't read {', '.join(unread)}; {_RANGE}")


def _has_read(name: str, value: str) -> bool:
    # getattr: an unknown flag is what is looked for here.
    read: Any = getattr(constants, READ_INTO.get(name, name), None)
    match read:
        case None:
            return False
        case bool():
            return read is (value == "1")
        case _:
            return read == type(read)(value)


_RANGE = "see the range of ray in anabranch's pyproject.toml"


STARTED_WITH = ["http_options", "grpc_options", "global_logging_config", "global_tracing_config", "controller_options"]


def _missing() -> Iterator[str]:
    # getattr: that a name is missing is what is looked for in all of these.
    if "_by_reference" not in inspect.signature(DeploymentHandle.options).parameters:
        yield "the option _by_reference of handles"
    if "_replica_result" not in _DeploymentResponseBase.__init__.__code__.co_names:
        yield "the attribute _replica_result of responses"
    if "__del__" not in inspect.unwrap(UserCallableWrapper.call_destructor).__code__.co_consts:
        yield "a look for __del__ when a replica shuts down"
    if "version" not in DeploymentConfig.model_fields:
        yield "the field version of DeploymentConfig"
    start = vars(api).get("_create_controller_and_proxy_refs")
    # getattr: its arguments are given by place, and must still be those.
    if start is None or list(inspect.signature(start).parameters)[:5] != STARTED_WITH:
        yield "a start of Serve that doesn't wait"
    if "wait_for_proxies_serving" not in vars(ServeControllerClient):
        yield "a way to wait for the proxies"
    if "_bound_deployment" not in Application.__init__.__code__.co_names:
        yield "the attribute _bound_deployment of applications"
    if "_deployment_config" not in Deployment.__init__.__code__.co_names:
        yield "the attribute _deployment_config of deployments"


def check() -> None:
    """Refuse a Ray that lacks what is used here."""
    if missing := list(_missing()):
        raise Unavailable(f"Ray {ray.__version__} no longer has {', '.join(missing)}; {_RANGE}")


check()
