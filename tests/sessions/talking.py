"""Sessions of two replicas over one store, and a model that answers with what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from deployments.conversations.pieces import Answer
from deployments.conversations.request import Conversation
from deployments.gateway.gateway import Gateway
from deployments.gateway.running import Running
from deployments.runs.events import Delta, Finished, Invocation, raise_failure
from deployments.sessions.sessions import Sessions
from deployments.store.rows import TurnRow
from graphs.component import Use
from graphs.plan import Model, Plan, Store, WorkflowPlan
from graphs.stream import Stream
from tests.transports.served import DEADLINE, Feed, Invoke, plan

USES: tuple[Use, ...] = ("chat",)


class Echo:
    """A model that repeats the last message, a word a chunk, and writes down what it was sent."""

    def __init__(self) -> None:
        self.sent: list[list[dict[str, Any]]] = []

    async def __call__(self, invocation: Invocation) -> Stream:
        messages = invocation.input["messages"]
        self.sent.append(messages)
        return await Feed(*(f"{word} " for word in str(messages[-1]["content"]).split()))(invocation)


class Told:
    """A model whose every call is a feed of its own, by the last message: of several that were left unanswered, the last."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self.sent: list[list[dict[str, Any]]] = []

    def __getitem__(self, said: str) -> Feed:
        return self._feeds.setdefault(said, Feed())

    async def __call__(self, invocation: Invocation) -> Stream:
        messages = invocation.input["messages"]
        self.sent.append(messages)
        return await self[messages[-1]["content"].rpartition("\n\n")[2]](invocation)


def talking(*workflows: WorkflowPlan, **controller: Any) -> Plan:
    made = plan(*workflows, **controller)
    models = {id: Model(id, dict.fromkeys(USES, id), is_component=False) for id in made.workflows}
    return replace(made, models=models)


@asynccontextmanager
async def replicas(
    invoke: Invoke, url: str, count: int = 2, *, within: float = 2 * DEADLINE, **controller: Any
) -> AsyncIterator[list[Gateway]]:
    """Some gateways over one store."""
    served = talking(**{"store": Store(url), **controller})
    gateways = [Gateway(served, invoke) for _ in range(count)]
    try:
        async with asyncio.timeout(within):
            yield gateways
    finally:
        async with asyncio.timeout(DEADLINE):
            for each in gateways:
                await each.aclose()


def sessions(gateway: Gateway) -> Sessions:
    return gateway.companion(Sessions)


def message(text: str, **more: Any) -> Conversation:
    return Conversation(use="chat", model=None, stream=True, messages=[{"role": "user", "content": text}], **more)


async def say(gateway: Gateway, text: str, session: str | None = "s", **how: Any) -> Running:
    """A turn; its reader has not begun to read."""
    return await sessions(gateway).say(message(text), session, **how)


async def started(gateway: Gateway, text: str, session: str | None = "s", **how: Any) -> str:
    """The run of a turn that nobody reads."""
    running = await say(gateway, text, session, **{"on_disconnect": "continue", **how})
    await running.aclose()
    return running.run.id


async def answer(gateway: Gateway, running: Running) -> str:
    """What a turn is answered; its failure is raised."""
    reading, whole = sessions(gateway).reading(running), Answer()
    async with aclosing(running):
        async for event in running:
            raise_failure(event)
            if isinstance(event, Delta):
                whole.add(reading.read(event))
            elif isinstance(event, Finished):
                whole.add(reading.end(event))
    return whole.text


async def asked(gateway: Gateway, text: str, session: str | None = "s", **how: Any) -> str:
    return await answer(gateway, await say(gateway, text, session, **how))


async def turns(gateway: Gateway, session: str = "s") -> list[TurnRow]:
    return list((await sessions(gateway).history(session, None, 1000)).turns)
