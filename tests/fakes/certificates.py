"""A certificate authority for tests, and a server of one fixed answer over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

HOST = "localhost"


@dataclass(frozen=True)
class Certificates:
    """A certificate for localhost, and the authority's that signed it."""

    authority: Path
    chain: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "127.0.0.1")
    made = Certificates(folder / "ca.pem", folder / "chain.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    made.key.write_bytes(issued.private_key_pem.bytes())
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return made


@asynccontextmanager
async def over_tls(certificates: Certificates, versions: list[str | None]) -> AsyncIterator[str]:
    """Answer every request with the text "well"; yields the base URL, and adds the version each connection has chosen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    serving: set[asyncio.Task[None] | None] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        versions.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nwell")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, HOST, 0, ssl=context)
    try:
        yield f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in serving:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in serving if task is not None), return_exceptions=True)
