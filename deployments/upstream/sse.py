"""Parse the bytes of a text/event-stream, in any pieces, into events, as the WHATWG HTML standard says."""

from __future__ import annotations

from typing import NamedTuple

from graphs.errors import UpstreamFailed

MAX_EVENT = 16 * 1024 * 1024
"""The most that one event or line may hold, in bytes."""

BOM = b"\xef\xbb\xbf"
_LINE_ENDS = (b"\n", b"\r")


class ServerEvent(NamedTuple):
    """One dispatched event; `id` is the last one seen, as the standard says."""

    data: str
    event: str = "message"
    id: str = ""


class EventParser:
    """Turns packets into the events that they complete.

    Beyond the standard, `end` returns an event whose blank line is missing at the very end: some upstreams never send it.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._line_size = 0
        self._data_size = 0
        self._after_cr = False
        self._at_start = True
        self._data: list[bytes] = []
        self._event = ""
        self._id = ""

    def feed(self, packet: bytes) -> list[ServerEvent]:
        """Return the events that this packet completes."""
        if self._after_cr and packet:
            # The LF of a CRLF that was split between two packets: its line has already been returned.
            self._after_cr = False
            packet = packet.removeprefix(b"\n")
        if b"\n" not in packet and b"\r" not in packet:
            self._hold(packet)
            return []
        text = b"".join((*self._pieces, packet)) if self._pieces else packet
        self._pieces.clear()
        self._line_size = 0
        lines = text.splitlines()  # of bytes: at CR, LF and CRLF only
        if text.endswith(_LINE_ENDS):
            self._after_cr = text.endswith(b"\r")
        else:
            self._hold(lines.pop())
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(BOM)
        return self._events(lines)

    def end(self) -> list[ServerEvent]:
        """Return the event of a body that ends without a blank line, if it has data."""
        self._after_cr = False
        return self.feed(b"\n\n")

    def _hold(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._line_size += len(piece)
        self._bound()

    def _bound(self) -> None:
        if self._line_size > MAX_EVENT or self._data_size > MAX_EVENT:
            raise UpstreamFailed(f"one event of the stream is larger than {MAX_EVENT >> 20} MiB")

    def _events(self, lines: list[bytes]) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._data_size += len(line)
                self._bound()
            elif not line:
                if self._data:
                    data = b"\n".join(self._data).decode("utf-8", "replace")
                    events.append(ServerEvent(data, self._event or "message", self._id))
                    self._data.clear()
                    self._data_size = 0
                self._event = ""
            else:  # comments and unknown fields change nothing
                name, _, raw = line.partition(b":")
                value = raw.removeprefix(b" ").decode("utf-8", "replace")
                if name == b"event":
                    self._event = value
                elif name == b"id" and "\0" not in value:
                    self._id = value
                elif name == b"data":
                    self._data.append(b"")
        return events
