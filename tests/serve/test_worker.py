"""What a replica does with its component beside calls, without Ray."""

import warnings
from collections.abc import AsyncIterator

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from deployments.serve.worker import Worker

from deployments.channel.dialer import Dialer
from deployments.telemetry.redaction import Redactor
from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Setup
from graphs.errors import ComponentFailed, Unavailable


class Unwell(Component[ComponentConfig, ActionInput]):
    type = "unwell"

    async def run(self, input: ActionInput) -> AsyncIterator[Chunk]:
        yield "never"

    async def healthy(self) -> None:
        raise RuntimeError("no abcd")

    async def close(self) -> None:
        raise SystemExit


async def test_a_replica_asks_its_component_and_closes_it_with_the_channel():
    worker = Worker.__new__(Worker)
    worker._component = Unwell(ComponentConfig(), Setup("it"))
    worker._dialer, worker._redactor = Dialer(), Redactor({"abcd"})
    with pytest.raises(Unavailable, match=r"^RuntimeError: no \*\*\*$"):
        await worker.check_health()
    with pytest.raises(ComponentFailed, match="component 'it', asked to close, raised SystemExit"):
        await worker._close()
