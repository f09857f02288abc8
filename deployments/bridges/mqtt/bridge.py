"""Questions from a broker in, answers to it out: each question is the next turn of a session."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from deployments.bridges.mqtt.answer import Sending
from deployments.bridges.mqtt.connection import Outgoing
from deployments.bridges.mqtt.link import Link
from deployments.bridges.mqtt.payloads import JSON, Address, Incoming, Question, Refused, decode, failure
from deployments.bridges.mqtt.topics import Topics
from deployments.bridges.mqtt.window import Undelivered
from deployments.gateway.gateway import Gateway
from deployments.gateway.running import Following
from deployments.sessions.sessions import Sessions
from graphs.errors import AnabranchError, InvalidInput
from graphs.plan import Bridge

logger = logging.getLogger("anabranch.mqtt")

REMEMBERED = 10_000
"""Answers that were sent of which the bridge knows that, when their questions come again."""


class MqttBridge:
    """A bridge of a document."""

    def __init__(self, plan: Bridge, gateway: Gateway) -> None:
        self._plan = plan
        self._gateway = gateway
        self._sessions = gateway.companion(Sessions)
        self._topics = Topics(plan.project)
        self._link = Link(plan, self._receive, gateway.redactor.text)
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: OrderedDict[str, None] = OrderedDict()
        """Runs whose answers were sent, or are being sent."""
        self._sending: dict[str, asyncio.Task[None]] = {}
        """By the run."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By the session; those that wait hold it."""

    @property
    def trouble(self) -> str | None:
        """Why there is no connection; None while there is one."""
        return self._link.trouble

    def start(self) -> None:
        """Connect."""
        self._link.start()

    async def rest(self) -> None:
        """Take no more questions."""
        await self._link.rest()

    async def ended(self) -> None:
        """Wait until all answers are sent."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        """Leave the answers that aren't sent, and disconnect."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._link.aclose()

    async def _receive(self, incoming: Incoming) -> None:
        """Keep what a message asks, and begin to answer it; it needn't come again when this returns."""
        try:
            question = decode(incoming, self._topics, self._plan.max_message_size, self._plan.model)
        except Refused as refused:
            self._refuse(refused.error, refused.address)
            return
        try:
            async with self._in_order(question.session):
                running = await self._say(question)
        except AnabranchError as error:
            topic = self._topics.errors if question.topic is None else question.topic
            self._refuse(self._gateway.redactor.error(error), Address(topic, question.request_id, question.correlation))
            return
        id = running.run.id
        if question.after is None and id in self._begun:
            await running.aclose()  # the question came again
            return
        self._remember(id)
        if (before := self._sending.pop(id, None)) is not None:
            before.cancel()
        self._sending[id] = sending = self._begin(self._answer(question, running))
        sending.add_done_callback(lambda done: self._sent(id, done))

    async def _say(self, question: Question) -> Following:
        try:
            return await self._sessions.say(
                question.conversation,
                question.session,
                system_prompt=question.system_prompt,
                on_busy=question.on_busy,
                on_disconnect="continue",
                key=question.key,
            )
        except InvalidInput as error:
            if error.details.get("field") != "Idempotency-Key":
                raise
            message = "requestId: it belongs to another message; send each message with one of its own"
            raise InvalidInput(message, field="requestId") from None

    async def _answer(self, question: Question, running: Following) -> None:
        run = running.run
        session = run.context.session_id
        assert session is not None, "it is a turn of one"
        topic = question.topic or self._topics.answer(session, question.client, question.request_id)
        address = Address(topic, question.request_id or run.id, question.correlation)
        reading = self._sessions.reading(running)
        sending = Sending(running, reading, address, self._link, self._plan.max_message_size)
        if question.conversation.stream:
            await sending.streamed(-1 if question.after is None else question.after)
        else:
            await sending.whole()

    def _refuse(self, error: AnabranchError, address: Address) -> None:
        """Say what is wrong with a message."""
        logger.info("the bridge '%s' refuses a message: %s", self._plan.id, error.message)
        self._begin(self._link.publish(Outgoing(address.topic, failure(address, error), JSON, address.correlation)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _sent(self, run: str, task: asyncio.Task[None]) -> None:
        if self._sending.get(run) is task:
            del self._sending[run]

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if isinstance(fault, Undelivered):
            logger.warning("the bridge '%s': %s", self._plan.id, fault)
        elif fault is not None:
            logger.error("the bridge '%s': internal error", self._plan.id, exc_info=fault)

    def _remember(self, run: str) -> None:
        self._begun[run] = None
        if len(self._begun) > REMEMBERED:
            self._begun.popitem(last=False)

    @asynccontextmanager
    async def _in_order(self, session: str | None) -> AsyncGenerator[None]:
        """Let the messages of one session in one after another, as they came."""
        if session is None:
            yield
            return
        lock = self._turns.setdefault(session, asyncio.Lock())
        async with lock:
            yield
