"""A component type that says what happens to it, and answers when it is told to; documents of such components."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator
from typing import ClassVar

from deployments.components import registry
from graphs.component import ActionInput, Chunk, Component, ComponentConfig
from graphs.load import load_inline
from graphs.plan import Plan


class MarkedConfig(ComponentConfig):
    mark: str
    breaks: bool = False
    """It can't be set up."""
    port: int | None = None


class MarkedInput(ActionInput):
    gate: str = ""


class Marked(Component[MarkedConfig, MarkedInput]):
    """Streams its mark, waits at a gate where there is one, and ends."""

    type = "marked"
    Config = MarkedConfig
    Input = MarkedInput
    exclusive = frozenset({"port"})

    log: ClassVar[list[str]] = []
    gates: ClassVar[dict[str, asyncio.Event]] = {}
    heard: ClassVar[asyncio.Event]
    """Set anew whenever something is logged."""
    broken: ClassVar[set[str]] = set()
    """Marks of components that can't be set up now."""

    @classmethod
    def begin(cls) -> None:
        cls.log, cls.gates, cls.heard, cls.broken = [], {}, asyncio.Event(), set()

    @classmethod
    def gate(cls, name: str) -> asyncio.Event:
        return cls.gates.setdefault(name, asyncio.Event())

    @classmethod
    def say(cls, what: str) -> None:
        cls.log.append(what)
        cls.heard.set()
        cls.heard = asyncio.Event()

    @classmethod
    async def said(cls, what: str) -> None:
        """Wait until this has happened."""
        while what not in cls.log:
            await cls.heard.wait()

    async def setup(self) -> None:
        if self.config.breaks or self.config.mark in self.broken:
            self.say(f"{self.config.mark} broken")
            raise RuntimeError(f"broken {self.config.mark}")
        if gate := self.gates.get(f"set up {self.config.mark}"):
            self.say(f"{self.config.mark} begins")
            await gate.wait()
            self.log.remove(f"{self.config.mark} begins")
        self.say(f"{self.config.mark} set up")

    async def run(self, input: MarkedInput) -> AsyncIterator[Chunk]:
        yield self.config.mark
        if input.gate:
            await self.gate(input.gate).wait()
        yield "end"

    async def close(self) -> None:
        self.say(f"{self.config.mark} closed")


TYPES = {**registry(), "marked": Marked}


def document(environ: dict[str, str] | None = None, **components: str) -> Plan:
    """A plan of marked components by their ids, given as `mark: …` and more; a workflow of the same id runs each."""
    lines = ["components:"]
    for id, config in components.items():
        lines.append(f"  - {{id: {id}, type: marked, {config}, action: {{gate: '${{input.gate | \"\"}}'}}}}")
    lines.append("workflows:")
    for id in components:
        lines.append(f"  - {{id: {id}, output: '${{output as text;sse-text}}', jobs: [{{id: run, component: {id}}}]}}")
    return load_inline(textwrap.dedent("\n".join(lines)), TYPES, environ or {})
