"""WebSockets of uvicorn, one mistake of its own mended: a server that stops while a client is leaving doesn't fail."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSockets(WebSocketsSansIOProtocol):
    """What uvicorn speaks on a WebSocket."""

    def shutdown(self) -> None:
        """Close the connection. Where it is closing already, and waits for a client that doesn't read, uvicorn would say a second
        farewell, which raises."""
        if self.transport.is_closing():
            self.transport.abort()
        else:
            super().shutdown()
