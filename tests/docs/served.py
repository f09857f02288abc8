"""A document -> the HTTP API over its components, all in this process: what the pages' clients talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from deployments.answering.answerer import Answerer
from deployments.answering.messages import Answered, Erred, Question
from deployments.gateway.gateway import Gateway
from deployments.runs.events import Invocation
from deployments.serve.lists import Basket
from deployments.telemetry.redaction import Redactor
from deployments.transports.app import build_app
from graphs.component import Registry, Setup
from graphs.errors import from_data
from graphs.plan import Plan
from graphs.stream import Stream, Value
from tests.transports.served import serving


@asynccontextmanager
async def document(plan: Plan, types: Registry) -> AsyncIterator[str]:
    """Serve a plan's workflows; yields the address."""
    async with AsyncExitStack() as stack:
        answerers: dict[str, Answerer] = {}
        for id, each in plan.components.items():
            cls = types[each.type]
            if not cls.deployed:
                continue
            component = cls(cls.Config.model_validate(dict(each.config)), Setup(id))
            await component.setup()
            stack.push_async_callback(component.close)
            answerers[id] = Answerer(each, component, Redactor())

        async def ready() -> Mapping[str, str | None]:
            return dict.fromkeys(answerers)

        async def invoke(invocation: Invocation) -> Value | Stream:
            return await _answer(answerers[invocation.component], invocation)

        yield await stack.enter_async_context(serving(build_app(Gateway(plan, invoke, ready))))


async def _answer(answerer: Answerer, invocation: Invocation) -> Value | Stream:
    basket = Basket()
    asked = Question(invocation.action, invocation.input, invocation.context, None)
    reply: Any = await answerer.answer(asked, lambda: basket)
    chunks = basket.take()
    match reply:
        case Answered(value=value):
            return value
        case Erred(error=error) if not chunks:
            raise from_data(error)
        case _:
            pass

    async def batches() -> AsyncIterator[list[Any]]:
        yield chunks
        if isinstance(reply, Erred):
            raise from_data(reply.error)

    return Stream(batches())
