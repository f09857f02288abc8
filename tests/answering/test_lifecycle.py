"""What becomes of a component that fails beside its calls: while it is set up, asked whether it is healthy, or closed."""

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator

import pytest

from deployments.answering import lifecycle
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
        await lifecycle.set_up(PLAN, Quitting, Redactor({"abcd"}))
    assert "component 'it' was not all set up, and could not be closed" in caplog.text
    assert "SystemExit: 4" in caplog.text


async def test_a_setup_that_is_cancelled_stays_cancelled_and_one_that_cancels_itself_has_failed():
    begun, closed = asyncio.Event(), []

    class Slow(Quitting):
        cancels_itself = False

        async def setup(self) -> None:
            begun.set()
            if self.cancels_itself:
                raise asyncio.CancelledError
            await asyncio.Event().wait()

        async def close(self) -> None:
            closed.append(self)

    setting_up = asyncio.ensure_future(lifecycle.set_up(PLAN, Slow, Redactor()))
    await begun.wait()
    setting_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setting_up
    Slow.cancels_itself = True
    with pytest.raises(Unavailable, match="component 'it' could not be set up: it cancelled itself"):
        await lifecycle.set_up(PLAN, Slow, Redactor())
    assert len(closed) == 2


async def test_a_component_that_exits_when_asked_or_closed_has_failed(caplog: pytest.LogCaptureFixture):
    quitting = Quitting(ComponentConfig(), Setup("it"))
    with pytest.raises(Unavailable, match=r"^component 'it', asked whether it is healthy, raised SystemExit; "):
        await lifecycle.check_health(quitting, Redactor())
    with pytest.raises(ComponentFailed, match=r"^component 'it', asked to close, raised SystemExit; "):
        await lifecycle.close(quitting)
    assert caplog.text.count("raise SystemExit") + caplog.text.count("sys.exit(") >= 2


async def test_what_a_health_check_raises_is_one_line_without_secrets():
    class Unwell(Quitting):
        async def healthy(self) -> None:
            raise RuntimeError("login refused for abcd-efgh")

    redactor = Redactor({"abcd-efgh"})
    with pytest.raises(Unavailable, match=r"^RuntimeError: login refused for \*\*\*$") as raised:
        await lifecycle.check_health(Unwell(ComponentConfig(), Setup("it")), redactor)
    assert "abcd" not in "".join(traceback.format_exception(raised.value))
