"""What a replica makes of a component that fails beside its calls, without Ray."""

import asyncio
import sys
import traceback
import warnings
from collections.abc import AsyncIterator

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from deployments.serve.worker import Worker, _set_up

from deployments.channel.dialer import Dialer
from deployments.telemetry.redaction import Redactor
from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Setup
from graphs.errors import ComponentFailed, Unavailable
from graphs.plan import ComponentPlan, Options

PLAN = ComponentPlan("it", "quitting", {}, {}, "", Options(), "t.yaml:1:1")


class Quitting(Component[ComponentConfig, ActionInput]):
    """Exits wherever it can."""

    type = "quitting"

    async def setup(self) -> None:
        await asyncio.to_thread(sys.exit, "no abcd")

    async def run(self, input: ActionInput) -> AsyncIterator[Chunk]:
        yield "never"

    async def healthy(self) -> None:
        sys.exit(3)

    async def close(self) -> None:
        sys.exit(4)


async def test_a_component_that_exits_while_it_is_set_up_says_so_in_one_line(caplog: pytest.LogCaptureFixture):
    message = "^t.yaml:1:1: component 'it' could not be set up: SystemExit: no \\*\\*\\*$"
    with pytest.raises(Unavailable, match=message):
        await _set_up(PLAN, Quitting, Redactor({"abcd"}))
    assert "component 'it' was not all set up, and could not be closed" in caplog.text
    assert "SystemExit: 4" in caplog.text


async def test_a_setup_that_is_cancelled_stays_cancelled():
    closed = asyncio.Event()

    class Slow(Quitting):
        async def setup(self) -> None:
            raise asyncio.CancelledError

        async def close(self) -> None:
            closed.set()

    with pytest.raises(asyncio.CancelledError):
        await _set_up(PLAN, Slow, Redactor())
    assert closed.is_set()


async def test_a_component_that_exits_when_asked_or_closed_has_failed(caplog: pytest.LogCaptureFixture):
    worker = Worker.__new__(Worker)
    worker._component = Quitting(ComponentConfig(), Setup("it"))
    worker._dialer, worker._redactor = Dialer(), Redactor()
    with pytest.raises(Unavailable, match=r"^component 'it', asked whether it is healthy, raised SystemExit; "):
        await worker.check_health()
    with pytest.raises(ComponentFailed, match=r"^component 'it', asked to close, raised SystemExit; "):
        await worker._close()
    assert caplog.text.count("raise SystemExit") + caplog.text.count("sys.exit(") >= 2


async def test_what_a_health_check_raises_is_one_line_without_secrets():
    class Unwell(Quitting):
        async def healthy(self) -> None:
            raise RuntimeError("login refused for abcd-efgh")

    worker = Worker.__new__(Worker)
    worker._component, worker._redactor = Unwell(ComponentConfig(), Setup("it")), Redactor({"abcd-efgh"})
    with pytest.raises(Unavailable, match=r"^RuntimeError: login refused for \*\*\*$") as raised:
        await worker.check_health()
    assert "abcd" not in "".join(traceback.format_exception(raised.value))
