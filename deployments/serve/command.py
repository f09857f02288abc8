"""Serve documents until told to stop: like `serve run`, with Ray's fast flags set and the document's own port."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence

from deployments.serve.ports import free_port, moved_ports, require_free
from deployments.serve.start_failures import causes
from graphs.errors import Unavailable
from graphs.plan import Plan
from graphs.requirements import check_requirements

FAST_FLAGS = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Read by Ray when it starts: they cut the cost of a hop to about a quarter (docs/performance.md)."""

DRAINING = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1"}
"""Ray keeps an ingress for 30 s after it was told to go, for load balancers to notice. Here the only one is its own."""

HOST, PORT = "127.0.0.1", 8080


def serve(documents: Sequence[str], host: str | None, port: int | None, name: str) -> int:
    """Serve until SIGINT or SIGTERM; everything that was started is stopped again."""
    check_requirements()
    for flag, value in {**FAST_FLAGS, **DRAINING, **moved_ports(dict(os.environ))}.items():
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

    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        require_free(host, port)

    import ray
    from ray import serve as ray_serve

    from graphs.app import compose

    try:
        ray.init(address=address, namespace="serve", log_to_driver=True)
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # only now: Ray has put its own in, and a shell's jobs ignore SIGINT
            signal.signal(number, signal.default_int_handler)
        application = compose(plan, types)
        port = port or free_port()  # now that Ray's own processes have taken theirs
        ray_serve.start(http_options={"host": host, "port": port})
        try:
            ray_serve.run(application, name=name, route_prefix="/")
        except RuntimeError as error:  # what Ray raises for deployments that failed; it names them and no more
            raise Unavailable("\n".join([str(error), *_causes(plan, name)])) from None
        print(_welcome(plan, documents, host, port), file=sys.stderr, flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("Stopping: streams under way may end first. Press Ctrl-C again not to wait.", file=sys.stderr, flush=True)
    finally:
        if ray.is_initialized():
            ray_serve.shutdown()
            ray.shutdown()
    return 0


def _causes(plan: Plan, name: str) -> list[str]:
    from ray import serve as ray_serve

    from deployments.telemetry.redaction import Redactor

    application = ray_serve.status().applications.get(name)
    deployments = application.deployments if application else {}
    redactor = Redactor(plan.secrets)
    return causes({id: redactor.text(each.message) for id, each in deployments.items() if each.status != "HEALTHY"})


def _welcome(plan: Plan, documents: Sequence[str], host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104  (only read here)
    return "\n".join(
        [
            f"Serving {', '.join(documents)} on http://{shown}:{port}",
            f"Workflows: {', '.join(plan.workflows)}. Reference: http://{shown}:{port}/docs. Stop with Ctrl-C.",
        ]
    )
