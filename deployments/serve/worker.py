"""The Serve deployment around one component: a question in through the handle, chunks out through the caller's channel."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any

from ray import serve
from ray.serve import Application

from deployments.answering.answerer import EXITS, Answerer
from deployments.answering.messages import (
    Answered,
    Erred,
    NoChannel,
    Question,
    Reply,
    Stopped,
    Streamed,
    StreamRef,
    fits,
    from_bytes,
    replaced,
    shortened,
)
from deployments.channel.connection import Connection
from deployments.channel.endpoints import Dialer, Unreachable
from deployments.channel.flow import Outlet
from deployments.serve.lists import Item, answer_in_lists
from deployments.serve.options import serve_options
from deployments.serve.versions import fingerprint, pin
from deployments.streams.ends import Left, Lost
from deployments.telemetry.logs import log_to_replica, redact_logs
from deployments.telemetry.redaction import Redactor
from graphs.component import Component, Setup
from graphs.errors import AnabranchError, ComponentFailed, Unavailable
from graphs.plan import ComponentPlan, Options
from graphs.stream import Batch, Note, Stream

logger = logging.getLogger("anabranch.worker")

CHANNEL_FLAG = "ANABRANCH_CHANNEL"
"""Set to 0, chunks go through Ray's handles: slower, and for networks where replicas can't reach each other."""

GPUS = "CUDA_VISIBLE_DEVICES"

ComponentClass = type[Component[Any, Any]]


def bind(plan: ComponentPlan, component: ComponentClass, secrets: frozenset[str]) -> Application:
    """Return the deployment of a component, named by its id; redeployed, it restarts only if what is given here changed."""
    deployment = serve.deployment(name=plan.id, **serve_options(plan.options))(Worker)
    return pin(deployment.bind(plan, component, secrets), *fingerprint(plan), component, sorted(secrets))


class Worker:
    """One replica of a component."""

    async def __init__(self, plan: ComponentPlan, component: ComponentClass, secrets: frozenset[str]) -> None:
        self._redactor = redactor = Redactor(secrets)
        redact_logs(redactor)
        log_to_replica()
        _hide_gpus(plan.options)
        self._component = await _set_up(plan, component, redactor)
        self._answerer = Answerer(plan, self._component, redactor)
        self._dialer = Dialer()
        # Serve awaits a `__del__` that it finds on the instance, once, when the replica shuts down. On the class,
        # Python would call it as well, and leave the coroutine lying there.
        self.__del__ = self._close

    async def answer(self, question: bytes) -> Reply:
        """Answer a call; its chunks go to where the question says, and the call stays open until the last."""
        asked = from_bytes(question)
        if asked.reply_to is None:
            return NoChannel("the question names no address")
        try:
            connection = await self._dial(asked)
        except Unreachable as error:
            logger.warning("%s; its calls are answered through Ray's handles", error)
            return NoChannel(str(error))
        inputs = Inputs(connection)
        stream = asked.reply_to.stream
        try:
            reply = await self._answerer.answer(inputs.connected(asked), lambda: _open(connection, stream))
        finally:
            await inputs.aclose()
        if isinstance(reply, Answered) and not fits(reply):
            reply = await _send_whole(reply, connection.write(stream))
        return shortened(reply) if isinstance(reply, Erred) else reply

    async def answer_in_lists(self, question: bytes, progress: Any, stream: int) -> AsyncGenerator[Item, None]:
        """Answer a call over the handle's own stream."""
        async for item in answer_in_lists(self._answerer, from_bytes(question), progress, stream):
            yield item

    async def check_health(self) -> None:
        """Raise when the replica should be replaced: in one line, for Serve shows and logs whatever is raised here."""
        try:
            await _staying(self._component.healthy(), f"component '{self._component.id}', asked whether it is healthy")
        except Exception as error:
            logger.exception("component '%s' is not healthy", self._component.id)
            raise Unavailable(self._redactor.text(_said(error))) from None

    async def _dial(self, question: Question) -> Connection:
        if question.reply_to is None or os.environ.get(CHANNEL_FLAG) == "0":
            raise Unreachable(f"the channel is switched off by {CHANNEL_FLAG}=0")
        return await self._dialer.dial(question.reply_to.address)

    async def _close(self) -> None:
        try:
            await self._dialer.aclose()
        finally:
            await _staying(self._component.close(), f"component '{self._component.id}', told to close")


class Inputs:
    """The streams that come with one call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._by_id: dict[int, Stream] = {}

    def connected(self, question: Question) -> Question:
        """Return the question with its streams ready to be read."""
        return dataclasses.replace(question, input=replaced(question.input, StreamRef, self._stream))

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
    """Leave a replica that asked for no GPU without one: Ray lets it see all of its node's, whoever they were given to."""
    said = (options.runtime_env or {}).get("env_vars") or {}
    if not options.num_gpus and GPUS not in said:
        os.environ[GPUS] = ""


def _open(connection: Connection, stream: int) -> Outlet:
    outlet = connection.write(stream)
    outlet.open()
    return outlet


async def _send_whole(answered: Answered, outlet: Outlet) -> Reply:
    """Send a large answer as one chunk: gRPC between replicas would refuse it as the call's return."""
    try:
        outlet.open(whole=True)
        for chunk in (answered.value, *([Note(answered.notes)] if answered.notes else [])):
            if not outlet.put(chunk):
                await outlet.room()
        outlet.finish()
    except AnabranchError as error:
        outlet.fail(error)
        return Erred(error.to_data())
    except Left:
        return Stopped()
    except Lost as lost:
        return Erred(Unavailable(f"the caller was lost: {lost}").to_data())
    return Streamed(outlet.count)


async def _set_up(plan: ComponentPlan, component: ComponentClass, redactor: Redactor) -> Component[Any, Any]:
    """Return the component, ready; what it raises instead becomes one line for `serve status`."""
    made: Component[Any, Any] | None = None
    try:
        made = component(component.Config.model_validate(dict(plan.config)), Setup(plan.id, redactor.text))
        await made.setup()
    except GeneratorExit:
        raise
    except BaseException as error:
        if made is not None:
            await _close_half(made)
        if isinstance(error, asyncio.CancelledError):
            raise
        logger.exception("component '%s' could not be set up", plan.id)
        raise Unavailable(
            redactor.text(f"{plan.where}: component '{plan.id}' could not be set up: {_said(error)}")
        ) from None
    return made


async def _close_half(component: Component[Any, Any]) -> None:
    """Close what was not all set up; that it can't be closed is not what its author must be told first."""
    try:
        await component.close()
    except (Exception, *EXITS):
        logger.exception("component '%s' was not all set up, and could not be closed", component.id)


async def _staying(work: Awaitable[None], what: str) -> None:
    """Await what the component does; `sys.exit` in it is a failure, and doesn't end the loop that all calls share."""
    try:
        await work
    except EXITS as exit:
        logger.exception("%s, failed", what)
        raise ComponentFailed(f"{what}, raised {type(exit).__name__}; its log says where") from exit


def _said(error: BaseException) -> str:
    return error.message if isinstance(error, AnabranchError) else f"{type(error).__name__}: {error}"
