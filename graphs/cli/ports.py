"""Ports that a server needs on this machine: are they free, and which one is instead."""

from __future__ import annotations

import socket

from graphs.errors import Unavailable

OWN_PORTS = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
}
"""Ports that Ray's HAProxy takes for itself, by the variables that move them: taken by another, it would not start."""


def require_free(host: str, port: int) -> None:
    """Refuse a port that somebody else listens on."""
    if not is_free(host, port):
        raise Unavailable(f"port {port} on {host} is taken by another program; stop that, or write --port with another")


def moved_ports(environ: dict[str, str]) -> dict[str, str]:
    """Return the variables that move HAProxy's own ports away from those that are taken."""
    asked = {name: port for name, port in OWN_PORTS.items() if name not in environ}
    return {name: str(_free_port()) for name, port in asked.items() if not is_free("", port)}


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except PermissionError:
            raise Unavailable(f"this user may not listen on port {port}; write --port with one above 1023") from None
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])
