"""The Serve deployment around one component: a question in through the handle, chunks out through the caller's channel."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator

from ray import serve
from ray.serve import Application

from deployments.answering import lifecycle
from deployments.answering.answerer import Answerer
from deployments.answering.garbage import look_for_garbage_less_often
from deployments.answering.messages import Answered, Erred, Question, Reply, too_deep
from deployments.channel.connection import Connection
from deployments.channel.dialer import Dialer, Unreachable
from deployments.channel.flow import Outlet
from deployments.serve.envelopes import NoChannel, ReplyTo, StreamRef, seal_reply, send_whole, unseal
from deployments.serve.handle_stream import answer_in_frames
from deployments.serve.options import serve_options
from deployments.serve.ray_internals import close_with_replica
from deployments.serve.versions import pin
from deployments.streams.codec import Lost
from deployments.streams.inside_values import replaced
from deployments.telemetry.logs import log_to_replica, redact_logs
from deployments.telemetry.redaction import Redactor
from graphs.component import ComponentType
from graphs.errors import TooLarge, Unavailable
from graphs.plan import ComponentPlan, Options, fingerprint
from graphs.stream import Batch, Stream

logger = logging.getLogger("anabranch.worker")

CHANNEL_FLAG = "ANABRANCH_CHANNEL"
"""Set to 0, chunks go through Ray's handles: slower, for networks where replicas can't reach each other."""

GPUS = "CUDA_VISIBLE_DEVICES"


def bind(plan: ComponentPlan, component: ComponentType, secrets: frozenset[str]) -> Application:
    """Return the deployment of a component, named by its id; redeployed, it restarts only if what is given here changed."""
    deployment = serve.deployment(name=plan.id, **serve_options(plan.options))(Worker)
    return pin(deployment.bind(plan, component, secrets), *fingerprint(plan), component, sorted(secrets))


class Worker:
    """One replica of a component."""

    async def __init__(self, plan: ComponentPlan, component: ComponentType, secrets: frozenset[str]) -> None:
        self._redactor = redactor = Redactor(secrets)
        redact_logs(redactor)
        log_to_replica()
        look_for_garbage_less_often()
        _hide_gpus(plan.options)
        self._component = await lifecycle.set_up(plan, component, redactor)
        self._answerer = Answerer(plan, self._component, redactor)
        self._dialer = Dialer()
        close_with_replica(self, self._close)

    async def answer(self, envelope: bytes) -> bytes:
        """Answer a call; its chunks go to where the envelope says, and the call stays open until the last."""
        opened = unseal(envelope)
        try:
            if opened.reply_to is None or os.environ.get(CHANNEL_FLAG) == "0":
                raise Unreachable(f"the channel is switched off by {CHANNEL_FLAG}=0")
            connection = await self._dialer.dial(opened.reply_to.address)
        except Unreachable as error:
            logger.warning("%s; its calls are answered through Ray's handles", error)
            return seal_reply(NoChannel(str(error)))
        return await self._over_channel(opened.question, connection, opened.reply_to)

    async def answer_in_frames(self, envelope: bytes) -> AsyncGenerator[bytes, None]:
        """Answer a call over the handle's own stream."""
        async for piece in answer_in_frames(self._answerer, unseal(envelope).question):
            yield piece

    async def check_health(self) -> None:
        """Raise when the replica should be replaced: in one line, for Serve shows and logs what is raised here."""
        await lifecycle.check_health(self._component, self._redactor)

    async def _over_channel(self, question: Question, connection: Connection, reply_to: ReplyTo) -> bytes:
        def opened() -> Outlet:
            outlet = connection.write(reply_to.stream)
            outlet.open()
            return outlet

        inputs = InputStreams(connection)
        try:
            reply: Reply = await self._answerer.answer(inputs.connected(question), opened)
        except RecursionError:
            reply = Erred(too_deep())
        finally:
            await inputs.aclose()
        try:
            return seal_reply(reply)
        except TooLarge:
            assert isinstance(reply, Answered), "every other reply fits"
            return seal_reply(await send_whole(reply, connection.write(reply_to.stream)))

    async def _close(self) -> None:
        try:
            await self._dialer.aclose()
        finally:
            await lifecycle.close(self._component)


class InputStreams:
    """The streams that come with one call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._by_id: dict[int, Stream] = {}

    def connected(self, question: Question) -> Question:
        """Return the question with its streams ready to be read."""
        return dataclasses.replace(question, input=replaced(question.input, self._stream, StreamRef))

    async def aclose(self) -> None:
        """Read no more of them."""
        for stream in self._by_id.values():
            await stream.aclose()

    def _stream(self, ref: StreamRef) -> Stream:
        if (known := self._by_id.get(ref.id)) is not None:
            return known
        inlet = self._connection.read(ref.id)

        async def batches() -> AsyncIterator[Batch]:
            inlet.want()
            try:
                async for batch in inlet.batches():
                    yield batch
            except Lost as lost:
                raise Unavailable(f"a stream of the input was cut: {lost}") from lost

        async def close() -> None:
            inlet.close()

        return self._by_id.setdefault(ref.id, Stream(batches(), close))


def _hide_gpus(options: Options) -> None:
    """Hide all GPUs from a replica that asked for none: Ray lets it see those that it gave to others."""
    said = (options.runtime_env or {}).get("env_vars") or {}
    if not options.num_gpus and GPUS not in said:
        os.environ[GPUS] = ""
