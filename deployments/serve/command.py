"""Serve documents until a signal stops it: like `serve run`, with Ray's fast flags set and the document's own port."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NoReturn

from deployments.asgi.ports import free_port, require_free
from deployments.serve.descendants import end_descendants, keep_descendants
from deployments.serve.ports import moved_ports
from graphs.component import Registry
from graphs.errors import Unavailable
from graphs.plan import Plan
from graphs.requirements import check_requirements

FAST_FLAGS = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Read by Ray when it starts: they cut the cost of a hop to about a quarter (docs/performance.md)."""

DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
"""Ray keeps a stopped ingress for 30 s, so that load balancers notice. Here the only load balancer is Ray's own."""

HOST, PORT = "127.0.0.1", 8080

PATIENCE = 30.0
"""Seconds that requests under way have after the first signal."""
LINGER = 1.0
"""Seconds for the last bytes of their answers to leave the proxy."""
STOPS = (signal.SIGINT, signal.SIGTERM)


def serve(documents: Sequence[str], host: str | None, port: int | None, name: str) -> int:
    """Serve until SIGINT or SIGTERM; every process that was started is ended again."""
    check_requirements()
    flags = {**FAST_FLAGS, **DRAINING, **moved_ports(dict(os.environ))}
    for flag, value in flags.items():
        os.environ.setdefault(flag, value)
    from deployments.components import registry
    from graphs.load import load
    from graphs.source import Mistakes, in_order

    types, mistakes = registry(), Mistakes()
    plan = load(documents, types, mistakes=mistakes)  # before Ray starts: a mistake is reported at once
    for warning in in_order(mistakes.warnings):
        print(warning.render(), file=sys.stderr)
    host = host or plan.controller.host or HOST
    port = (plan.controller.port or PORT) if port is None else port
    if os.environ.get("RAY_ADDRESS") is None:
        require_free(host, port)

    keep_descendants()
    _on_stops(signal.default_int_handler)
    try:
        from deployments.serve.ray_internals import require_flags

        require_flags({flag: os.environ[flag] for flag in flags})
        port = _start(plan, types, host, port, name)
        print(_welcome(plan, documents, host, port), file=sys.stderr, flush=True)
        _wait(name)
    except KeyboardInterrupt:
        pass  # a second signal: the rest is cut
    finally:
        _end()
    return 0


def _on_stops(handler: Any) -> None:
    """Have `handler` called at either signal: the shell's background jobs ignore SIGINT, and Ray has handlers of its own."""
    for number in STOPS:
        signal.signal(number, handler)


def _start(plan: Plan, types: Registry, host: str, port: int, name: str) -> int:
    """Start Ray, Serve and the application; return the port."""
    import ray
    from ray import serve as ray_serve
    from ray.exceptions import RayError

    from graphs.app import compose

    address = os.environ.get("RAY_ADDRESS")
    try:
        with _ended_by_a_signal() if address is None else nullcontext():
            ray.init(address=address, namespace="serve", log_to_driver=True)
            _on_stops(signal.default_int_handler)
            application = compose(plan, types)
            port = port or free_port()  # now that Ray's own processes have taken theirs
            try:
                ray_serve.start(http_options={"host": host, "port": port})
            except RayError:
                require_free(host, port)  # another program may have taken it meanwhile
                raise
            try:
                ray_serve.run(application, name=name, route_prefix="/")
            except RuntimeError as error:  # what Ray raises for deployments that failed; it names them and no more
                raise Unavailable("\n".join([str(error), *_causes(plan, name)])) from None
    except (KeyboardInterrupt, SystemExit):  # the latter is what Ray's own handler makes of SIGTERM
        if address is None:
            _abandon()
        _shut_serve_down()
        raise KeyboardInterrupt from None
    except Exception:
        _shut_serve_down()
        raise
    return port


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
    print("Stopped.", file=sys.stderr, flush=True)
    os._exit(130)


def _wait(name: str) -> None:
    """Wait for a signal, then for the requests under way; at a second signal no longer."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        said = f"Stopping: requests under way may end, for {PATIENCE:g} s. Press Ctrl-C again to stop at once."
        print(said, file=sys.stderr, flush=True)
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
    print(problem, file=sys.stderr, flush=True)
    return 0


def _end() -> None:
    """End Ray, and whatever it left behind."""
    import ray

    _on_stops(signal.SIG_IGN)
    if ray.is_initialized():
        ray.shutdown()
    end_descendants()


def _causes(plan: Plan, name: str) -> list[str]:
    from ray import serve as ray_serve

    from deployments.serve.ray_internals import DeploymentStatus
    from deployments.serve.start_failures import causes
    from deployments.telemetry.redaction import Redactor

    application = ray_serve.status().applications.get(name)
    deployments = application.deployments if application else {}
    failed = (DeploymentStatus.DEPLOY_FAILED, DeploymentStatus.UNHEALTHY)
    redactor = Redactor(plan.secrets)
    return causes({id: redactor.text(each.message) for id, each in deployments.items() if each.status in failed})


def _welcome(plan: Plan, documents: Sequence[str], host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104  (only read here)
    return (
        f"Serving {', '.join(documents)} on http://{shown}:{port}\n"
        f"Workflows: {', '.join(plan.workflows)}. Reference: http://{shown}:{port}/docs. Stop with Ctrl-C."
    )
