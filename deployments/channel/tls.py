"""Ray's own TLS settings in, the two ends' SSL contexts out; None where Ray runs without."""

from __future__ import annotations

import os
import ssl
from functools import cache

from graphs.errors import AnabranchError

FILES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def context(protocol: int) -> ssl.SSLContext | None:
    """Return the context of one end: the listener asks for the dialing side's certificate too, as Ray's servers do."""
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    missing = [name for name in FILES if not os.environ.get(name)]
    if missing:
        raise AnabranchError(f"RAY_USE_TLS is set, and {', '.join(missing)} is not; write the file's path there")
    return _context(protocol, *(os.environ[name] for name in FILES))


@cache
def _context(protocol: int, certificate: str, key: str, authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
