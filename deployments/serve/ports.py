"""The ports that Ray Serve's HAProxy needs for itself, and free ones instead of those that are taken."""

from __future__ import annotations

from deployments.asgi.ports import free_port, is_free

OWN_PORTS = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
}
"""Ports that Ray's HAProxy needs for itself, by the variables that move them: it doesn't start where one is taken."""


def moved_ports(environ: dict[str, str]) -> dict[str, str]:
    """Return the variables that move HAProxy's own ports away from those that are taken."""
    asked = {name: port for name, port in OWN_PORTS.items() if name not in environ}
    return {name: str(free_port()) for name, port in asked.items() if not is_free("", port)}
