"""Asks in, what an engine answers out."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from deployments.engines.engine import Ask, Ended, Engine, Sampling

SAID = [{"role": "user", "content": "옛날 옛적에 there was a river"}]


def ask(streaming: bool = True, schema: dict[str, Any] | None = None, **sampling: Any) -> Ask:
    return Ask(
        messages=SAID, json_schema=schema, streaming=streaming,
        sampling=Sampling(**{"max_output_length": 24, **sampling}),
    )  # fmt: skip


async def answer(engine: Engine, asked: Ask) -> tuple[list[str], Ended]:
    """Return the pieces and the end."""
    pieces: list[str] = []
    async with aclosing(engine.generate(asked)) as told:
        async for each in told:
            if isinstance(each, Ended):
                return pieces, each
            pieces.append(each)
    raise AssertionError("the answer has no end")


async def text(engine: Engine, asked: Ask) -> str:
    return "".join((await answer(engine, asked))[0])
