"""Find a port that a server can listen on."""

from __future__ import annotations

import errno
import socket

TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})


def choose(wanted: int, before: int | None) -> int:
    """Return the wanted port if it is free, else the previous one, else any free one."""
    for port in (wanted, before):
        if port and is_free(port):
            return port
    while True:
        with _bound(socket.AF_INET, 0) as found:
            port = int(found.getsockname()[1])
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port, on every address of this machine."""
    return all(_binds(family, port) for family in (socket.AF_INET, socket.AF_INET6))


def _binds(family: socket.AddressFamily, port: int) -> bool:
    try:
        _bound(family, port).close()
    except OSError as error:
        return error.errno not in TAKEN  # any other error comes from a machine without IPv6
    return True


def _bound(family: socket.AddressFamily, port: int) -> socket.socket:
    probe = socket.socket(family)
    try:
        # As servers do: the remains of closed connections don't keep a server from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(("", port))
    except OSError:
        probe.close()
        raise
    return probe
