"""A component that does what a test tells it, and a latch that says across processes what has happened."""

import asyncio
import functools
import gc
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import ray

from deployments.channel.connection import Connection
from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Note, Stream, Streamable, Whole
from graphs.errors import UpstreamFailed

SECRET = "hush-hush-4711"


class Latch:
    """Events by name, as an actor."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._news = asyncio.Event()

    async def set(self, name: str, value: Any = True) -> None:
        self._values[name] = value
        self._news.set()
        self._news = asyncio.Event()

    async def get(self, name: str) -> Any:
        return self._values.get(name)

    async def wait(self, name: str) -> Any:
        while name not in self._values:
            await self._news.wait()
        return self._values[name]


def tell(name: str, value: Any = True) -> None:
    ray.get_actor("latch", namespace="tests").set.remote(name, value)


async def told(name: str) -> Any:
    return await ray.get_actor("latch", namespace="tests").wait.remote(name)


async def heard(name: str) -> Any:
    """Return the value of an event, None while it hasn't happened."""
    return await ray.get_actor("latch", namespace="tests").get.remote(name)


class QuotaExceeded(UpstreamFailed):
    """An error of the component's own, which no ingress has ever imported."""

    type = "quota_exceeded"
    status = 429


class DrillConfig(ComponentConfig):
    breaks: bool = False


class DrillInput(ActionInput):
    do: str
    text: Streamable[Any] = None
    count: int = 5
    event: str = ""


class Drill(Component[DrillConfig, DrillInput]):
    type = "drill"
    Config = DrillConfig
    Input = DrillInput

    async def setup(self) -> None:
        if self.config.breaks:
            raise RuntimeError(f"no such model, and the key is {SECRET}")

    async def close(self) -> None:
        with suppress(ValueError):  # modules without a latch
            tell(f"{self.id} closed")

    async def run(self, input: DrillInput) -> AsyncIterator[Chunk]:  # noqa: C901  (one case for each drill)
        match input.do:
            case "stream":
                for n in range(input.count):
                    yield f"{n} "
            case "kinds":
                for chunk in ("한국어", b"\x00\xff", {"a": [1, b"b"]}, Note({"usage": 1}), 7):
                    yield chunk
            case "whole":
                text = await input.text.join() if isinstance(input.text, Stream) else input.text
                yield Whole({"text": text, "pid": os.getpid()})
            case "where":
                yield Whole(
                    {
                        "pid": os.getpid(),
                        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
                        "says": os.environ.get("DRILL_SAYS"),
                        "channels": sum(isinstance(each, Connection) for each in gc.get_objects()),
                    }
                )
            case "large":
                yield Whole({"text": "x" * input.count})
            case "pass":
                if isinstance(input.text, Stream):
                    async for chunk in input.text:
                        yield chunk
                else:
                    yield input.text
            case "raise":
                for n in range(input.count):
                    yield f"{n} "
                raise ValueError(f"bad {SECRET}\nsecond line")
            case "raise when told":
                yield "one"
                await told(f"{input.event} go on")
                raise ValueError(f"bad {SECRET}")
            case "deep":
                yield Whole(functools.reduce(lambda inner, _: [inner], range(input.count), []))
            case "exceed":
                raise QuotaExceeded("all spent", retry_after=60)
            case "refuse":
                raise UpstreamFailed(f"{SECRET} refused", upstream={"status": 418, "body": SECRET})
            case "cancel":
                yield "one"
                raise asyncio.CancelledError
            case "wait" | "wait before":
                try:
                    if input.do == "wait":
                        yield str(os.getpid())
                    tell(f"{input.event} started", os.getpid())
                    await told(f"{input.event} go on")
                    yield "went on"
                finally:
                    tell(f"{input.event} stopped")
            case "endless":
                made = 0
                try:
                    while True:
                        yield "x" * 1000
                        made += 1
                        tell(f"{input.event} made", made) if made % 100 == 0 else None
                finally:
                    tell(f"{input.event} stopped", made)
