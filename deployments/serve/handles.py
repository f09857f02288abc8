"""Component handles in, Invoke out: calls go through Ray Serve, their chunks through the channel where there is one."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from typing import Any

import ray

from deployments.channel.listener import Listener
from deployments.runs.events import Invocation
from deployments.serve.channel_call import GRACE, ChannelCall, Handle
from deployments.serve.envelopes import NoChannel
from deployments.serve.handle_stream import HandleCall
from deployments.serve.ray_errors import call_failure
from deployments.serve.worker import CHANNEL_FLAG
from deployments.telemetry.redaction import Redactor
from graphs.component import Whole
from graphs.errors import AnabranchError, NotFound
from graphs.stream import Stream, Value

logger = logging.getLogger("anabranch.handles")

MEMORY = 30.0
"""Seconds for which a component that can't dial back is called through its handle alone."""


class HandlesInvoke:
    """Calls components by their handles; one for each replica, used on one event loop."""

    def __init__(
        self,
        handles: Mapping[str, Handle],
        redactor: Redactor | None = None,
        *,
        host: str | None = None,
        channel: bool | None = None,
    ) -> None:
        """`host` is where workers dial back, by default the node's address. Without `channel` (by default what
        ANABRANCH_CHANNEL says) chunks come through the handles."""
        self._handles = handles
        self._redactor = redactor or Redactor()
        self._host = host
        self._channel = os.environ.get(CHANNEL_FLAG) != "0" if channel is None else channel
        self._listener: Listener | None = None
        self._without: dict[str, float] = {}
        """Components that can't dial back, and until when that is believed."""
        self._detached: set[asyncio.Task[None]] = set()

    async def __call__(self, invocation: Invocation) -> Value | Stream | Whole:
        """Call a component: its whole answer, or its stream once the first chunk is there."""
        handle = self._handles.get(invocation.component)
        if handle is None:
            raise NotFound(f"no component '{invocation.component}' is deployed; there is {', '.join(self._handles)}")
        try:
            return await self._call(invocation, handle)
        except AnabranchError:
            raise
        except Exception as error:
            # Whatever Ray raises, it ends this call alone, in an error a client may see.
            raise call_failure(error, invocation.component, invocation.context.id) from error

    async def aclose(self) -> None:
        """Close the channel, and wait for the calls that were left."""
        if self._detached:
            await asyncio.wait(list(self._detached), timeout=GRACE)
        if self._listener is not None:
            await self._listener.aclose()

    async def _call(self, invocation: Invocation, handle: Handle) -> Value | Stream | Whole:
        now = asyncio.get_running_loop().time()
        if self._channel and self._without.get(invocation.component, now) <= now:
            answer = await self._over_channel(invocation, handle)
            if not isinstance(answer, NoChannel):
                return answer
            logger.warning("component '%s': %s; chunks go through Ray's handles", invocation.component, answer.reason)
            self._without[invocation.component] = now + MEMORY
        call = HandleCall(invocation, self._redactor)
        try:
            return await call.answer(handle)
        except BaseException:
            await call.aclose()
            raise

    async def _over_channel(self, invocation: Invocation, handle: Handle) -> Value | Stream | Whole | NoChannel:
        if self._listener is None:
            self._listener = Listener(self._host or ray.util.get_node_ip_address())
        await self._listener.start()
        call = ChannelCall(invocation, self._listener, self._redactor, self._detach)
        try:
            call.start(handle)
            return await call.answer()
        except BaseException:
            await call.aclose()
            raise

    def _detach(self, rest: Coroutine[Any, Any, None]) -> None:
        """Run the end of a call in the background."""
        task = asyncio.get_running_loop().create_task(rest)
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)
