"""A delay waits for a duration or until a time; the clock stands at 2030-01-01 12:00 UTC."""

from datetime import datetime

import pytest

from graphs.errors import InvalidInput
from graphs.plan import DelayJob
from tests.runs.builders import Components, StoppedClock, base, failure, output, template, workflow


def delay(duration=None, time=None, timezone=None, **fields):
    made = [None if value is None else template(value) for value in (duration, time)]
    return workflow(DelayJob(**base("d", **fields), duration=made[0], time=made[1], timezone=timezone))


@pytest.mark.parametrize(
    ("duration", "slept"), [("500ms", [0.5]), (2, [2.0]), ("${input}", [90.0]), (0, []), ("0s", [])]
)
async def test_it_waits_for_a_duration(duration, slept):
    clock = StoppedClock()
    assert await output(delay(duration), Components(), "1.5m", clock=clock) == "1.5m"
    assert clock.slept == slept


@pytest.mark.parametrize(
    ("time", "timezone", "slept"),
    [
        ("2030-01-01T12:00:10", None, [10.0]),
        ("2030-01-01T21:00:10", "Asia/Seoul", [10.0]),
        ("2030-01-01T12:00:10Z", "Asia/Seoul", [10.0]),
        (datetime(2030, 1, 1, 12, 0, 10), None, [10.0]),  # noqa: DTZ001
        ("2029-12-31", None, []),
    ],
)
async def test_it_waits_until_a_time_that_has_not_passed(time, timezone, slept):
    clock = StoppedClock()
    await output(delay(time=time, timezone=timezone), Components(), clock=clock)
    assert clock.slept == slept


async def test_its_output_can_be_mapped():
    assert await output(delay(0, output={"was": "${output}"}), Components(), "in") == {"was": "in"}


@pytest.mark.parametrize("given", ["soon", -1, None, True, [1], float("nan"), 10**400])
async def test_a_duration_that_is_none_is_an_error(given):
    error = await failure(delay("${input}"), Components(), given)
    assert isinstance(error, InvalidInput)
    assert "expected a duration" in error.message


@pytest.mark.parametrize("given", ["noon", 5, None])
async def test_a_time_that_is_none_is_an_error(given):
    error = await failure(delay(time="${input}"), Components(), given)
    assert isinstance(error, InvalidInput)
    assert "expected a time" in error.message


@pytest.mark.parametrize(
    ("w", "field", "message"),
    [
        (delay("${input.wait}"), "wait", "input.wait: expected a duration, got 'soon'"),
        (delay("${input.waits[0].long | 5s}"), "waits[0].long", "input.waits[0].long: expected a duration"),
        (delay(time="${input.wait}"), "wait", "input.wait: expected a time, got 'soon'"),
        (delay("${input.wait}s"), "duration", "duration: expected a duration, got 'soons'"),
        (delay("${run.id}"), "duration", "duration: expected a duration, got 'run-1'"),
    ],
)
async def test_what_is_no_time_is_called_as_the_caller_knows_it(w, field, message):
    error = await failure(w, Components(), {"wait": "soon", "waits": [{"long": "very"}]})
    assert error.details["field"] == field
    assert error.message.startswith(f"workflow 'w', job 'd': {message}")
