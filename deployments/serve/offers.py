"""The streams in a call's input -> references that the worker can ask for, and a task for each that it asks for."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from deployments.channel.flow import Outlet
from deployments.channel.listener import Listener
from deployments.serve.envelopes import StreamRef
from deployments.streams.codec import Left, Lost
from deployments.streams.inside_values import replaced
from graphs.errors import AnabranchError
from graphs.stream import Stream, Value

logger = logging.getLogger("anabranch.channel")


class Offers:
    """What one call offers; closed with it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._refs: dict[int, tuple[Stream, StreamRef]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def replace(self, input: Value) -> Value:
        """Return the input with a reference for every stream, and the value of every stream that was joined."""
        return replaced(input, self._ref)

    async def aclose(self) -> None:
        """Stop sending, and close every stream, those included that the worker never asked for."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self.withdraw()
        for stream, _ in self._refs.values():
            await stream.aclose()

    def withdraw(self) -> None:
        """Offer the streams no longer, and leave them as they are."""
        for _, ref in self._refs.values():
            self._listener.withdraw(ref.id)

    def _ref(self, stream: Stream) -> Value:
        if stream.joined is not None:
            return stream.joined[0]
        if id(stream) not in self._refs:
            ref = StreamRef(self._listener.offer(lambda outlet: self._start(stream, outlet)))
            self._refs[id(stream)] = (stream, ref)
        return self._refs[id(stream)][1]

    def _start(self, stream: Stream, outlet: Outlet) -> None:
        task = asyncio.get_running_loop().create_task(_send(stream, outlet))
        outlet.on_stop = task.cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _send(stream: Stream, outlet: Outlet) -> None:
    """Send a stream until its end, its failure, or until the reader leaves."""
    try:
        async with aclosing(stream.batches()) as batches:
            async for batch in batches:
                for chunk in batch:
                    if not outlet.put(chunk):
                        await outlet.room()
        outlet.finish()
    except (Left, Lost):
        pass
    except AnabranchError as error:
        outlet.fail(error)
    except Exception:
        logger.exception("a stream of a call's input failed")
        outlet.fail(AnabranchError("internal error in a stream of the input"))
