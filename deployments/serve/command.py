"""Serve documents until a signal stops it: like `serve run`, with Ray's fast flags set and the document's own port."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from deployments.asgi.ports import HOST, PORT, free_port, require_free, url
from deployments.serve.descendants import end_descendants, keep_descendants
from deployments.serve.ports import moved_ports
from graphs.component import Registry
from graphs.errors import Unavailable
from graphs.plan import Plan
from graphs.requirements import check_requirements

if TYPE_CHECKING:
    from ray.serve import Application

FAST_FLAGS = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Read by Ray when it starts: they cut the cost of a hop to about a quarter (docs/performance.md)."""

DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
"""Ray keeps a stopped ingress for 30 s, so that load balancers notice. Here the only load balancer is Ray's own."""

OWN_FLAGS = {"RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
"""Of a Ray that this command starts. Its controller looks at all replicas every 0.1 s otherwise: for 3 % of a core, always.
And it kills a proxy that isn't ready within 5 s: here proxies and replicas start at once, and take longer on a busy machine."""

PATIENCE = 30.0
"""Seconds that requests under way have after the first signal."""
LINGER = 1.0
"""Seconds for the last bytes of their answers to leave the proxy."""
STOPS = (signal.SIGINT, signal.SIGTERM)


def serve(documents: Sequence[str], host: str | None, port: int | None, name: str, dashboard: bool = False) -> int:
    """Serve until SIGINT or SIGTERM; every process that was started is ended again."""
    check_requirements()
    own = os.environ.get("RAY_ADDRESS") is None
    if dashboard and not own:
        raise Unavailable(
            "--dashboard is for a Ray that this command starts, and RAY_ADDRESS names one that runs already"
        )
    flags = _set_flags(own)
    from deployments.components import registry
    from graphs.load import load
    from graphs.source import Mistakes, in_order

    types, mistakes = registry(), Mistakes()
    plan = load(documents, types, mistakes=mistakes)  # before Ray starts: a mistake is reported at once
    for warning in in_order(mistakes.warnings):
        _say(warning.render())
    host = host or plan.controller.host or HOST
    port = (plan.controller.port or PORT) if port is None else port
    if own:
        require_free(host, port)

    keep_descendants()
    _on_stops(signal.default_int_handler)
    try:
        from deployments.serve.ray_internals import require_flags

        require_flags(flags)
        port = _start(plan, types, host, port, name, dashboard)
        _say(_welcome(plan, documents, host, port))
        _wait(name)
    except KeyboardInterrupt:
        pass  # a second signal: the rest is cut
    finally:
        _end()
    return 0


def _set_flags(own: bool) -> dict[str, str]:
    """Set what the environment leaves open, before Ray is imported; return the flags that Ray must have read."""
    flags = {**FAST_FLAGS, **DRAINING, **(OWN_FLAGS if own else {}), **moved_ports(dict(os.environ))}
    for flag, value in flags.items():
        os.environ.setdefault(flag, value)
    return {flag: os.environ[flag] for flag in flags}


def _on_stops(handler: Any) -> None:
    """Have `handler` called at either signal: the shell's background jobs ignore SIGINT, and Ray has handlers of its own."""
    for number in STOPS:
        signal.signal(number, handler)


def _start(plan: Plan, types: Registry, host: str, port: int, name: str, dashboard: bool) -> int:
    """Start Ray, Serve and the application; return the port."""
    from graphs.app import compose

    own = os.environ.get("RAY_ADDRESS") is None
    try:
        with _ended_by_a_signal() if own else nullcontext():
            _start_ray(own, dashboard)
            _on_stops(signal.default_int_handler)
            application = compose(plan, types)
            port = port or free_port()  # now that Ray's own processes have taken theirs
            _deploy(application, plan, host, port, name, own)
    except (KeyboardInterrupt, SystemExit):  # the latter is what Ray's own handler makes of SIGTERM
        if own:
            _abandon()
        _shut_serve_down()
        raise KeyboardInterrupt from None
    except Exception:
        _shut_serve_down()
        raise
    return port


def _start_ray(own: bool, dashboard: bool) -> None:
    """Start Ray, or connect to the one that RAY_ADDRESS names."""
    import ray

    began = time.monotonic()
    with nullcontext() if dashboard or not own else _few_processes():
        ray.init(address=None if own else os.environ["RAY_ADDRESS"], namespace="serve", log_to_driver=True)
    if own:
        _say(f"Ray started after {time.monotonic() - began:.1f} s")


def _few_processes() -> AbstractContextManager[None]:
    from deployments.serve.ray_node import few_processes

    return few_processes()


def _deploy(application: Application, plan: Plan, host: str, port: int, name: str, own: bool) -> None:
    """Start Serve and the application, both at once where there is no Serve yet; return when requests get through."""
    import ray
    from ray import serve as ray_serve
    from ray.exceptions import RayError

    from deployments.serve.ray_internals import start_proxies, wait_for_proxies
    from deployments.serve.starting import wait_until_running
    from deployments.telemetry.redaction import Redactor

    began = time.monotonic()
    try:
        if own:
            listening = start_proxies(host, port)
        else:
            ray_serve.start(http_options={"host": host, "port": port})
            listening = []
        target = ray_serve.RunTarget(application, name)
        ray_serve.run_many(
            [target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
        )  # waited for below, with a line for each
        wait_until_running(name, began, Redactor(plan.secrets), _say)
        ray.get(listening)
        wait_for_proxies()
    except RayError:
        require_free(host, port)  # another program may have taken it meanwhile
        raise


def _shut_serve_down() -> None:
    import ray
    from ray import serve as ray_serve

    if ray.is_initialized():
        ray_serve.shutdown()


@contextmanager
def _ended_by_a_signal() -> Generator[None]:
    """While Ray starts, end at a stop signal whatever the main thread does: an interrupt raised in Ray's code can get lost."""
    read, write = os.pipe()
    os.set_blocking(write, False)

    def watch() -> None:
        with os.fdopen(read, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] in STOPS:
                    _abandon()

    threading.Thread(target=watch, name="stop-signals", daemon=True).start()
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        os.close(write)


def _abandon() -> NoReturn:
    """End while Ray is half started: its own way to stop may crash then, and leave processes behind."""
    end_descendants()
    _say("Stopped.")
    os._exit(130)


def _wait(name: str) -> None:
    """Wait for a signal, then for the requests under way; at a second signal no longer."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        said = f"Stopping: requests under way may end, for {PATIENCE:g} s. Press Ctrl-C again to stop at once."
        _say(said)
        asyncio.run(_stop(name))


async def _stop(name: str) -> None:
    from ray import serve as ray_serve

    if await _drained(name):
        await asyncio.sleep(LINGER)
    await ray_serve.shutdown_async()


async def _drained(name: str) -> int:
    """Have every replica of the ingress refuse requests, and end those it has; return how many those were."""
    from ray import serve as ray_serve
    from ray.serve.exceptions import DeploymentUnavailableError

    ingress = ray_serve.get_app_handle(name)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(DeploymentUnavailableError):  # a new handle doesn't know its replicas at once
                    return sum(await ingress.broadcast("drain").results_async(timeout_s=PATIENCE))
                await asyncio.sleep(0.1)
    except TimeoutError:
        problem = f"Requests still under way after {PATIENCE:g} s are cut."
    except Exception as error:  # noqa: BLE001  (an ingress that is gone must not keep the command from ending)
        problem = f"The ingress could not be asked to stop: {error}"
    _say(problem)
    return 0


def _end() -> None:
    """End Ray, and whatever it left behind."""
    import ray

    _on_stops(signal.SIG_IGN)
    if ray.is_initialized():
        ray.shutdown()
    end_descendants()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _welcome(plan: Plan, documents: Sequence[str], host: str, port: int) -> str:
    address = url(host, port)
    return (
        f"Serving {', '.join(documents)} on {address}\n"
        f"Workflows: {', '.join(plan.workflows)}. Reference: {address}/docs. Stop with Ctrl-C."
    )
