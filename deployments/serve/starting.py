"""An application that starts: what Serve says of its deployments in, out a line for each that is ready, or why one isn't."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ray import serve
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from deployments.serve.ray_internals import DeploymentStatus
from deployments.serve.start_failures import causes
from deployments.telemetry.redaction import Redactor
from graphs.checker import INGRESS
from graphs.errors import Unavailable

POLL = 0.1
SLOW = 10.0
"""Seconds after which a deployment that isn't ready yet is named."""


class Progress:
    """What is said of each deployment: that it is ready, and before that, once, that it takes long."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._ready: set[str] = set()
        self._slow: set[str] = set()

    def update(self, ready: Mapping[str, bool], seconds: float) -> None:
        """Say what is new of these deployments, this many seconds after the start."""
        width = max((len(_shown(name)) for name in ready), default=0)
        for name, is_ready in ready.items():
            if is_ready and name not in self._ready:
                self._ready.add(name)
                self._say(f"  {_shown(name):<{width}}  ready after {seconds:.1f} s")
            elif not is_ready and seconds >= SLOW and name not in self._slow:
                self._slow.add(name)
                self._say(f"  {_shown(name):<{width}}  still starting after {seconds:.0f} s")


def wait_until_running(name: str, began: float, redactor: Redactor, say: Callable[[str], None]) -> None:
    """Wait until all deployments of the application are ready; raise, with the causes, when one has failed for good.

    `began` is when their start did, on the monotonic clock.
    """
    progress = Progress(say)
    while True:
        application = serve.status().applications[name]
        if application.status == ApplicationStatus.DEPLOY_FAILED:
            failed = f"Deploying application {name} failed: {application.message}"
            raise Unavailable("\n".join([failed, *_causes(application, redactor)]))
        states = application.deployments
        ready = {each: state.status == DeploymentStatus.HEALTHY for each, state in states.items()}
        progress.update(ready, time.monotonic() - began)
        if application.status == ApplicationStatus.RUNNING:
            return
        time.sleep(POLL)


def _causes(application: ApplicationStatusOverview, redactor: Redactor) -> list[str]:
    failed = (DeploymentStatus.DEPLOY_FAILED, DeploymentStatus.UNHEALTHY)
    states = application.deployments
    return causes({id: redactor.text(state.message) for id, state in states.items() if state.status in failed})


def _shown(name: str) -> str:
    return "ingress" if name == INGRESS else name
