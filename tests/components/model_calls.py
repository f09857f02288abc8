"""Calls of a model component, and what they give."""

from __future__ import annotations

from typing import Any

from deployments.components.model import Model
from graphs.component import Note, Whole
from tests.fakes.calls import everything

GREEDY = {"max_output_length": 12, "do_sample": False}
HELLO = [{"role": "user", "content": "Hello"}]


def call(component: Model, **action: Any) -> Any:
    return component.run(Model.Input.model_validate({"params": GREEDY, **action}))


async def whole(component: Model, **action: Any) -> Whole:
    (answer,) = await everything(call(component, **action))
    assert isinstance(answer, Whole)
    return answer


async def streamed(component: Model, **action: Any) -> tuple[list[Any], list[Note]]:
    chunks = await everything(call(component, streaming=True, **action))
    return [c for c in chunks if not isinstance(c, Note)], [c for c in chunks if isinstance(c, Note)]
