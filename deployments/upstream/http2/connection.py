"""One HTTP/2 connection, by h2: requests become streams on it, side by side, each with its own flow control."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from yarl import URL

from deployments.upstream.failures import NotTaken
from deployments.upstream.http2.frames import MAX_FRAME, Frames
from deployments.upstream.http2.stream import GIVE_BACK, Http2Response, Http2Stream
from deployments.upstream.request import Request
from deployments.upstream.unpacking import ASKED_FOR

STREAM_WINDOW = 2 * GIVE_BACK
"""What a server may send of one answer before it is read."""
CONNECTION_WINDOW = 16 * 1024 * 1024
"""What it may send of all together: given back as it comes, so that an answer nobody reads holds up no other."""
MAX_HEADERS = 65536
IDLE = 60.0
"""How long a connection without calls is kept, in seconds."""

_NOT_IN_HTTP2 = frozenset({"host", "keep-alive", "proxy-connection", "te", "upgrade"})


class NeedsHttp1(ConnectionError):
    """The server wants this request over HTTP/1.1."""


class Http2Connection(asyncio.Protocol):
    """The protocol of one socket."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.streams: dict[int, Http2Stream] = {}
        self.offered = False
        """Whether the server chose HTTP/2."""
        self.closed = False
        self._leaving = False
        """No new streams: the server has said so, or has gone silent."""
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS,
            },
        )
        self._loop = asyncio.get_running_loop()
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._frames = Frames()
        self._to_give_back = 0
        self._idle: asyncio.TimerHandle | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more request may be sent on it."""
        most = self._h2.remote_settings.max_concurrent_streams
        return not (self.closed or self._leaving) and self._h2.open_outbound_streams < most

    @property
    def refuses(self) -> bool:
        """Whether there is no room on it, though nobody uses it: the server leaves, or takes no requests."""
        return not (self.has_room or self.streams)

    async def ready(self) -> None:
        """Return once the server has told its settings: before, the number of streams it takes isn't known."""
        await self._settled

    async def send(self, request: Request) -> Http2Response:
        """Send a request, and return when the headers of its answer have come."""
        stream = self._open(request)
        try:
            return Http2Response(stream, await stream.headed(), request)
        except BaseException:
            stream.close()
            raise

    def leave(self) -> None:
        """Take no new requests, and close once those under way have ended."""
        self._leaving = True
        if not self.streams:
            self._transport.close()

    async def aclose(self) -> None:
        """Close it, whatever is under way."""
        for stream in list(self.streams.values()):
            stream.fail(ConnectionAbortedError())
            stream.close()
        self._transport.close()
        # A server that doesn't answer the end of TLS is not waited for.
        await asyncio.wait([self._gone], timeout=1)
        self._transport.abort()

    # What streams use

    def room(self, id: int) -> int:
        """Return how many bytes of a body may be sent now; none when the stream has ended."""
        if not self._writable.is_set():
            return 0
        return min(self._h2.local_flow_control_window(id), self._h2.max_outbound_frame_size)

    async def writable(self) -> None:
        """Wait until the socket takes more."""
        await self._writable.wait()

    def send_data(self, id: int, data: bytes, *, last: bool) -> None:
        self._h2.send_data(id, data, end_stream=last)
        self._flush()

    def give_back(self, id: int, size: int) -> None:
        """Let the server send as much more of a stream as was read."""
        try:
            self._h2.increment_flow_control_window(size, id)
        except (H2Error, KeyError):
            return  # it has ended
        self._flush()

    def drop(self, id: int, *, reset: bool) -> None:
        """Forget a stream; `reset` tells the server that nobody wants the rest."""
        if self.streams.pop(id, None) is None:
            return
        if reset and not self.closed:
            with suppress(H2Error):
                self._h2.reset_stream(id, ErrorCodes.CANCEL)
            self._flush()
        if not self.streams and not self.closed:
            if self._leaving:
                self._transport.close()
            else:
                self._idle = self._loop.call_later(IDLE, self.leave)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        self.offered = tls is not None and tls.selected_alpn_protocol() == "h2"
        if self.offered:
            self._h2.initiate_connection()
            self._h2.increment_flow_control_window(CONNECTION_WINDOW - 65535)
            self._flush()
            self._idle = self._loop.call_later(IDLE, self.leave)

    def data_received(self, data: bytes) -> None:
        try:
            for frames, last_stream in self._frames.split(data):
                if last_stream is not None:
                    self._go_away(last_stream)
                else:
                    for event in self._h2.receive_data(frames):
                        self._take(event)
        except (H2Error, ValueError):
            self._flush()
            self._fail(ConnectionResetError("the server broke HTTP/2"))
            self._transport.close()
            return
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError())
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _open(self, request: Request) -> Http2Stream:
        if not self.has_room:
            raise NotTaken
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(id, _headers(request), end_stream=request.body is None)
        stream = self.streams[id] = Http2Stream(id, self)
        self._flush()
        if request.body is not None:
            stream.send(request.body)
        return stream

    def _take(self, event: Event) -> None:
        match event:
            case DataReceived() | ResponseReceived() | StreamEnded() | StreamReset():
                if isinstance(event, DataReceived):
                    self._give_back_all(event.flow_controlled_length)
                if stream := self.streams.get(event.stream_id):
                    _tell(stream, event)
            case WindowUpdated(stream_id=id):
                self._more_room(id or 0)
            case RemoteSettingsChanged():
                if not self._settled.done():
                    self._settled.set_result(None)
                self._more_room(0)
            case _:
                pass

    def _more_room(self, id: int) -> None:
        for stream in self.streams.values() if id == 0 else [self.streams[id]] if id in self.streams else []:
            stream.room.set()

    def _give_back_all(self, size: int) -> None:
        self._to_give_back += size
        if self._to_give_back > CONNECTION_WINDOW // 4:
            self._h2.increment_flow_control_window(self._to_give_back)
            self._to_give_back = 0

    def _go_away(self, last: int) -> None:
        for id, stream in list(self.streams.items()):
            if id > last:
                stream.fail(NotTaken())
        self.leave()

    def _fail(self, error: OSError) -> None:
        self.closed = True
        if self._idle is not None:
            self._idle.cancel()
        if not self._settled.done():
            self._settled.set_exception(error)
            self._settled.exception()  # nobody may be waiting
        for stream in list(self.streams.values()):
            stream.fail(error)
        self._writable.set()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)


def _headers(request: Request) -> list[tuple[str, str]]:
    url = URL(request.url)
    given = {name.lower(): value for name, value in request.headers.items()}
    headers = {"user-agent": "anabranch", "accept": "*/*", "accept-encoding": ASKED_FOR, **given}
    if url.user is not None and "authorization" not in headers:
        credentials = f"{url.user}:{url.password or ''}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    if isinstance(request.body, bytes):
        headers["content-length"] = str(len(request.body))
    authority = headers.get("host") or url.host_port_subcomponent or ""
    return [
        (":method", request.method),
        (":authority", authority.removesuffix(":443")),
        (":scheme", "https"),
        (":path", url.raw_path_qs or "/"),
        *((name, value) for name, value in headers.items() if name not in _NOT_IN_HTTP2),
    ]


def _tell(stream: Http2Stream, event: DataReceived | ResponseReceived | StreamEnded | StreamReset) -> None:
    match event:
        case DataReceived(data=data, flow_controlled_length=size):
            stream.take(data, size)
        case ResponseReceived(headers=headers):
            raw = cast("list[tuple[bytes, bytes]]", headers)
            stream.head([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
        case StreamEnded():
            stream.end()
        case StreamReset(error_code=code):
            stream.fail(_reset(code))


def _reset(code: int) -> OSError:
    match code:
        case ErrorCodes.REFUSED_STREAM:
            return NotTaken()
        case ErrorCodes.HTTP_1_1_REQUIRED:
            return NeedsHttp1()
        case _:
            return ConnectionResetError()
