"""An exception of a call through a handle in, the error for the caller out; it names the component."""

from __future__ import annotations

import asyncio
import logging

from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from graphs.errors import RETRY_AFTER, AnabranchError, ComponentFailed, Overloaded, Unavailable

logger = logging.getLogger("anabranch.handles")


def call_failure(error: BaseException, component: str, run_id: str) -> AnabranchError:
    """Return the error for what was raised; a traceback goes to the log alone."""
    match error:
        case AnabranchError():
            return error
        case BackPressureError():
            return Overloaded(
                f"component '{component}' has a full queue; try again, or raise its replicas, "
                "max_concurrent_count or max_queued",
                retry_after=RETRY_AFTER,
            )
        case RayActorError():  # a replica that died, or can't be reached
            return Unavailable(f"component '{component}' died while answering")
        case DeploymentUnavailableError() | ReplicaUnavailableError():
            return Unavailable(f"component '{component}' is not available; /ready says what it does instead")
        case TaskCancelledError() | asyncio.CancelledError():  # Serve's own RequestCancelledError is one
            return Unavailable(f"component '{component}' was stopped while answering")
        case RayTaskError():
            cause = type(error.cause).__name__
        case _:
            cause = type(error).__name__
    logger.error("run %s: the call of component '%s' failed", run_id, component, exc_info=error)
    return ComponentFailed(f"component '{component}' failed: {cause}; see the log of run {run_id}")
