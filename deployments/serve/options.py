"""A component's Options in, the options of its Ray Serve deployment out."""

from __future__ import annotations

from typing import Any

from graphs.placement import ACCELERATOR_SHARE
from graphs.plan import Options

HEALTH_CHECK_PERIOD = 5.0
HEALTH_CHECK_TIMEOUT = 30.0
GRACEFUL_SHUTDOWN_TIMEOUT = 30.0
DRAINING_TIME = 10.0
"""Seconds of it that are left at least for calls to end, before the component is closed."""

AUTOSCALING = {
    "min": "min_replicas", "max": "max_replicas", "initial": "initial_replicas",
    "target_ongoing_requests": "target_ongoing_requests", "upscale_delay": "upscale_delay_s",
    "downscale_delay": "downscale_delay_s", "metrics_interval": "metrics_interval_s",
    "look_back_period": "look_back_period_s",
}  # fmt: skip
"""The document's words, and Ray's."""


def serve_options(options: Options) -> dict[str, Any]:
    """Return the keyword arguments of `Deployment.options`."""
    asked: dict[str, Any] = {
        "ray_actor_options": actor_options(options),
        "max_ongoing_requests": options.max_concurrent_count,
        # Ray knows no queue of nothing; one place is the nearest to it.
        "max_queued_requests": max(1, options.max_queued),
        "health_check_period_s": HEALTH_CHECK_PERIOD,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT,
        "graceful_shutdown_timeout_s": max(GRACEFUL_SHUTDOWN_TIMEOUT, DRAINING_TIME + options.closing_time),
        "graceful_shutdown_wait_loop_s": 0.5,
    }
    if options.spread and options.num_gpus:
        asked["placement_group_bundles"] = gpu_bundles(options)
        asked["placement_group_strategy"] = "PACK"
        # The GPUs are for the workers that the component starts in the bundles, not for the replica itself.
        del asked["ray_actor_options"]["num_gpus"]
    if options.autoscaling is not None:
        said = options.autoscaling.items()
        asked["autoscaling_config"] = {AUTOSCALING[name]: value for name, value in said if value is not None}
    else:
        asked["num_replicas"] = options.replicas or 1
    return asked


def actor_options(options: Options) -> dict[str, Any]:
    """Return what one replica takes."""
    asked = {
        "num_cpus": options.num_cpus,
        "num_gpus": options.num_gpus,
        "memory": options.memory,
        "accelerator_type": options.accelerator_type,
        "runtime_env": dict(options.runtime_env) if options.runtime_env else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def gpu_bundles(options: Options) -> list[dict[str, float]]:
    """Return a bundle for each GPU; the replica itself lies in the first."""
    gpu = {"GPU": 1.0}
    if options.accelerator_type:
        gpu[f"accelerator_type:{options.accelerator_type}"] = ACCELERATOR_SHARE
    own = {"CPU": options.num_cpus, "memory": float(options.memory or 0)}
    first = gpu | {name: amount for name, amount in own.items() if amount}
    return [first] + [gpu] * (int(options.num_gpus or 0) - 1)
