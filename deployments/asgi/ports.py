"""The address that a server listens on: its defaults, whether it is free, and how clients write it."""

from __future__ import annotations

import errno
import socket

from graphs.errors import Unavailable

HOST, PORT = "127.0.0.1", 8080
"""Where neither the command nor the document says."""
ANOTHER_HOST = "write --host (or controller.host) with an address of this machine, or 0.0.0.0 for all it has"


def url(host: str, port: int) -> str:
    """Return the address for clients on this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  (only read here)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def require_free(host: str, port: int) -> None:
    """Refuse a port on which another program listens."""
    if not is_free(host, port):
        raise taken(host, port)


def taken(host: str, port: int) -> Unavailable:
    """Return the error of a port on which another program listens."""
    return Unavailable(f"port {port} on {host} is taken by another program; stop that, or write --port with another")


def is_free(host: str, port: int) -> bool:
    """Return whether the port is free; refuse a host or a port on which this process can't listen at all."""
    try:
        _bound(host, port)
    except PermissionError:
        raise Unavailable(f"this user may not listen on port {port}; write --port with one above 1023") from None
    except (socket.gaierror, ValueError):
        raise Unavailable(f"there is no host {host}; {ANOTHER_HOST}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise Unavailable(f"{host} is not an address of this machine; {ANOTHER_HOST}") from None
        raise Unavailable(f"port {port} of {host} can't be listened on: {error.strerror}") from None
    return True


def free_port() -> int:
    """Return a free port."""
    return _bound("127.0.0.1", 0)


def _bound(host: str, port: int) -> int:
    """Listen there for a moment; return the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        attempt.bind((host, port))
        return int(attempt.getsockname()[1])
