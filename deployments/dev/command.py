"""Serve documents in this process until a signal stops it, and load them again when their files change."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
import uvloop

from deployments.answering.garbage import look_for_garbage_less_often
from deployments.asgi.ports import HOST, PORT, require_free, taken, url
from deployments.dev import report
from deployments.dev.code import Code
from deployments.dev.graph import Front
from deployments.dev.uvicorn_internals import WebSockets
from deployments.dev.watching import Watch
from graphs.component import Registry
from graphs.errors import AnabranchError
from graphs.load import load
from graphs.plan import Controller, Plan
from graphs.requirements import check_requirements
from graphs.source import Mistakes, in_order

logger = logging.getLogger("anabranch.dev")

PATIENCE = 30
"""Seconds that requests under way have after the first signal."""
LAST_WORDS = 1.0
"""Seconds in which what is being loaded may end: a thread in which a model loads can't be stopped."""
LOOKS = 0.1
"""Seconds between two looks whether the user wants to stop at once."""
STOPS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 130
"""The exit status of a command that was stopped before it served."""


def develop(documents: Sequence[str], host: str | None, port: int | None, *, open_page: bool, began: float) -> NoReturn:
    """Serve until SIGINT or SIGTERM, and end the process. `began` is when the command did, on the monotonic clock."""
    check_requirements()
    look_for_garbage_less_often()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("anabranch").setLevel(logging.INFO)
    dev = Dev([Path(each) for each in documents], host, port, open_page=open_page, began=began)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _end(runner.run(dev.run()))


class Dev:
    """Documents that are served, and watched."""

    def __init__(
        self, documents: list[Path], host: str | None, port: int | None, *, open_page: bool, began: float
    ) -> None:
        self._documents, self._host, self._port, self._open_page = documents, host, port, open_page
        self._began = began
        self._front = Front()
        self._code = Code()
        self._compiling = threading.Lock()
        """A load that was given up may still be importing."""
        self._watch = Watch(documents)
        self._listener: tuple[socket.socket, str] | None = None
        """The socket to listen on, and the address for clients."""
        self._served: asyncio.Future[None] | None = None
        """Done once a graph can be served; failed where there is no port for it."""
        self._server: Server | None = None
        self._main: asyncio.Task[int] | None = None

    async def run(self) -> int:
        """Serve, and return the exit status."""
        for number in STOPS:
            signal.signal(number, self._stop)
        self._main = asyncio.current_task()
        self._served = asyncio.get_running_loop().create_future()
        loading = asyncio.create_task(self._load_again_and_again())
        try:
            await self._served
            assert self._listener is not None, "it was taken before anything was set up"
            listener, url = self._listener
            _begin_to_listen(listener)
            self._server = Server(self._front, lambda: self._say_ready(url))
            self._take_frames()
            await self._server.serve([listener])
        except asyncio.CancelledError:
            report.tell("Stopped.")
            return STOPPED
        finally:
            loading.cancel()
            await asyncio.wait([loading], timeout=LAST_WORDS)
            await self._front.aclose()
        return 0

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """End at a signal: let requests under way end; at a second signal, or before anything is served, at once."""
        server, main = self._server, self._main
        assert main is not None, "signals are caught only while it runs"
        if server is not None and not server.should_exit:
            server.should_exit = True
            if self._front.under_way:
                said = f"Stopping: requests under way may end, for {PATIENCE} s. Press Ctrl-C again to stop at once."
                report.tell(said)
        elif server is not None and not server.force_exit:
            server.force_exit = True
        elif server is None and not main.cancelling():
            main.get_loop().call_soon_threadsafe(main.cancel)
        else:
            _end(STOPPED)

    def _bound(self, controller: Controller) -> tuple[socket.socket, str]:
        """Return a socket to listen on, and the address for clients."""
        host = self._host or controller.host or HOST
        port = (controller.port or PORT) if self._port is None else self._port
        require_free(host, port)
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        return listener, url(host, listener.getsockname()[1])

    def _take_frames(self) -> None:
        if self._server is not None and self._front.graph is not None:
            self._server.take_frames(self._front.graph.plan.controller.max_request_size)

    def _say_ready(self, url: str) -> None:
        assert self._front.graph is not None, "it is served"
        report.tell_ready(self._front.graph.plan, self._documents, url, self._began)
        if self._open_page:
            # In a thread: a browser of the terminal is waited for.
            threading.Thread(target=webbrowser.open, args=[f"{url}/docs"], daemon=True).start()

    async def _load_again_and_again(self) -> None:
        loading = asyncio.create_task(self._load())
        try:
            while True:
                changed = await self._watch.changed()
                report.tell(f"Changed: {', '.join(map(_short, changed))}.")
                loading.cancel()  # what it loads is no longer what is written
                await asyncio.wait([loading])
                self._code.changed(changed)
                loading = asyncio.create_task(self._load())
        finally:
            loading.cancel()
            await asyncio.wait([loading])

    async def _load(self) -> None:
        """Load the documents, and serve what they say from now on; a mistake leaves everything as it was."""
        began, since, old = time.monotonic(), time.time_ns(), self._front.graph
        try:
            plan, types = await asyncio.to_thread(self._compile)
            if not self._listen(plan.controller):
                return
            ready = lambda component: report.tell_component(component, began)  # noqa: E731
            changes = await self._front.load(plan, types, ready)
        except AnabranchError as error:
            report.tell_failure(error, serving=old is not None)
        except Exception:
            logger.exception("the documents could not be loaded")
            report.tell_what_is_served(serving=old is not None)
        else:
            self._take_frames()
            if old is not None:
                report.tell_changed(old.plan, plan, changes, old.app.under_way, began)
            self._settle(None)
        finally:
            self._watch.add(self._code.files, since)

    def _compile(self) -> tuple[Plan, Registry]:
        with self._compiling:
            types, mistakes = self._code.registry(), Mistakes()
            plan = load(self._documents, types, mistakes=mistakes)
        report.tell_warnings(in_order(mistakes.warnings))
        return plan, types

    def _listen(self, controller: Controller) -> bool:
        """Take the port before components are set up, for that may take long; without a port the command ends."""
        assert self._served is not None, "it runs"
        if self._served.done():
            return True
        if self._listener is not None:
            self._listener[0].close()
        try:
            self._listener = self._bound(controller)
        except AnabranchError as error:
            self._settle(error)
            return False
        return True

    def _settle(self, error: AnabranchError | None) -> None:
        """Let the command go on: to serve, or to end."""
        assert self._served is not None, "it runs"
        if not self._served.done():
            if error is None:
                self._served.set_result(None)
            else:
                self._served.set_exception(error)


class Server(uvicorn.Server):
    """uvicorn, with signals left to the command."""

    def __init__(self, app: Front, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app, lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=PATIENCE,
                ws=WebSockets,
            )
        )  # fmt: skip
        self._front, self._say_started = app, started

    def take_frames(self, largest: int) -> None:
        """Take frames on new WebSockets of more than `largest` bytes, so that these can be told; twice that closes them."""
        self.config.ws_max_size = 2 * largest

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._say_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and let requests under way end: those of WebSockets too, which uvicorn would close at once."""
        for server in self.servers:
            server.close()
        closing = asyncio.create_task(self._front.close_sockets())
        began = time.monotonic()
        while not closing.done() and not self.force_exit and time.monotonic() - began < PATIENCE:
            await asyncio.wait([closing], timeout=LOOKS)
        closing.cancel()
        self.config.timeout_graceful_shutdown = max(1, PATIENCE - int(time.monotonic() - began))
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


def _short(path: Path) -> str:
    """Return the path as a person would write it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _begin_to_listen(listener: socket.socket) -> None:
    """Listen, unless another program has begun to on the same port meanwhile."""
    try:
        listener.listen()
    except OSError:
        host, port, *_ = listener.getsockname()
        raise taken(host, port) from None


def _end(status: int) -> NoReturn:
    """End without waiting for threads: one in which a model loads, or a component works, can't be stopped."""
    sys.stderr.flush()
    os._exit(status)
