"""Start a job with a call, then ask for it until it is done; return the last answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar, cast

from deployments.upstream.bodies import spell
from deployments.upstream.call_fields import Polling, State, texts
from deployments.upstream.exchange import Exchange, Fetched
from deployments.upstream.upstream_errors import reason_in, shown
from deployments.upstream.upstreams import Target
from graphs.component import Waiting
from graphs.errors import TimedOut, UpstreamFailed
from graphs.stream import Value

DONE = ("completed", "complete", "succeeded", "success", "successful", "finished", "done", "ready")
FAILED = (
    "failed", "failure", "error", "errored", "cancelled", "canceled", "aborted", "expired", "rejected", "timed_out",
)  # fmt: skip
ACCEPTED = 202
"""The HTTP status of a job that isn't done yet."""

LAST_WORD = 1.0
"""The least time, in seconds, that the last question gets for its answer."""

P = TypeVar("P", bound=Polling)


async def result_of_job(
    exchange: Exchange,
    targets: Sequence[Target],
    written: P | Waiting[P | None],
    target_of: Callable[[P, Fetched], Awaitable[Target]],
    component: str,
) -> Value:
    """Start a job, and return its result when it is done. `target_of` returns how to ask for the started job."""
    started = await exchange.fetch(targets)
    completion = await written.given(started.value) if isinstance(written, Waiting) else written
    if completion is None:
        return started.value
    target = await target_of(completion, started)
    where = f"component {component!r}: {target.request.where}"
    return await until_done(completion, lambda: exchange.fetch([target]), where, first_wait=started.retry_after)


async def until_done(
    completion: Polling,
    ask: Callable[[], Awaitable[Fetched]],
    where: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    first_wait: float | None = None,
) -> Value:
    """Ask until the job is done, and return that answer; raise an error that begins with `where` if it fails or takes too long.

    However long the pauses are, the last question comes when the time is up.
    """
    end = clock() + completion.timeout
    wait, state, last = max(completion.interval, first_wait or 0), None, False
    while not last and (left := end - clock()) > 0:
        last = wait >= left
        await sleep(min(wait, left))
        limit = asyncio.timeout(max(end - clock(), LAST_WORD))
        try:
            async with limit:
                answer = await ask()
        except TimeoutError:
            if not limit.expired():
                raise
            break
        try:
            state = _state(completion, answer)
            if _is_done(completion, answer, state):
                return answer.value
        except UpstreamFailed as failed:
            raise failed.at(where) from None
        wait = max(completion.interval, answer.retry_after or 0)
    last_state = "no question about it was answered" if state is None else f"its last state was {state!r}"
    raise TimedOut(f"the job was not done within {completion.timeout:g} s (completion.timeout); {last_state}").at(where)


def _state(completion: Polling, answer: Fetched) -> str:
    if completion.status is None:
        return str(answer.status)
    value = answer.value
    for key in completion.status.split("."):
        value = _at(value, key)
    if not isinstance(value, str | int | float):
        raise UpstreamFailed(
            f"expected the job's state under '{completion.status}', got {shown(str(answer.value))}",
            upstream={"status": answer.status, "body": answer.value},
        )
    return spell(value)


def _at(value: Value, key: str) -> Value:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Value]", value).get(key)
    if isinstance(value, list) and key.isdecimal() and int(key) < len(cast("list[Value]", value)):
        return cast("list[Value]", value)[int(key)]
    return None


def _is_done(completion: Polling, answer: Fetched, state: str) -> bool:
    """Return whether the job is done; raise if it failed."""
    by_status = completion.status is None
    if _is_among(state, completion.success_when, () if by_status else DONE):
        return True
    if _is_among(state, completion.fail_when, () if by_status else FAILED):
        reason = reason_in(answer.value)
        cause = f": {reason}" if reason and reason.casefold() != state.casefold() else ""
        raise UpstreamFailed(
            f"the job ended as {state!r}{cause}", upstream={"status": answer.status, "body": answer.value}
        )
    return by_status and completion.success_when is None and answer.status != ACCEPTED


def _is_among(state: str, written: Sequence[State] | None, known: Sequence[str]) -> bool:
    return state.casefold() in (known if written is None else texts(written))
