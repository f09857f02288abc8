"""A component in this process is set up, watched, replaced and closed; others don't notice."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from deployments.answering import answerer
from deployments.local import component as life
from deployments.local.component import close_all, start_all
from graphs.component import Chunk, Whole
from graphs.errors import Unavailable
from graphs.stream import Stream
from tests.local.acting import DEADLINE, Given, acting, calling, component, read, turns, yielding


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "PERIOD", 0.0)
    monkeypatch.setattr(life, "PATIENCE", 0.01)
    monkeypatch.setattr(life, "FIRST_DELAY", 0.0)


class Patient:
    """A component type that is as well as the test says; each instance counts."""

    def __init__(self) -> None:
        self.says: Exception | None = None
        self.refuses: Exception | None = None
        """What `setup` raises."""
        self.hangs = False
        self.asked = 0
        self.set_up = asyncio.Event()
        self.made: list[object] = []
        self.closed: list[object] = []
        self.does = yielding(Whole("well"))

        patient = self

        async def setup(self) -> None:
            if patient.refuses is not None:
                patient.asked += 1
                raise patient.refuses
            patient.made.append(self)
            patient.set_up.set()

        async def healthy(self) -> None:
            patient.asked += 1
            if patient.hangs:
                await asyncio.Event().wait()
            if patient.says is not None:
                raise patient.says

        async def close(self) -> None:
            patient.closed.append(self)

        def does(input: Given) -> AsyncIterator[Chunk]:
            return patient.does(input)

        self.type = acting(does, setup=setup, healthy=healthy, close=close)

    async def asked_again(self, times: int) -> None:
        goal = self.asked + times
        await until(lambda: self.asked >= goal)

    async def replaced(self) -> None:
        self.set_up.clear()
        await self.set_up.wait()


async def until(seen: Callable[[], bool]) -> None:
    """Wait for a state that tells nobody when it changes."""
    while not seen():  # noqa: ASYNC110  (the state is a component's own)
        await asyncio.sleep(0)


@pytest.fixture
def patient() -> Patient:
    return Patient()


@pytest.mark.parametrize("hangs", [False, True], ids=["says so", "gives no answer"])
async def test_a_component_that_is_unhealthy_three_times_is_replaced_and_others_go_on(
    patient: Patient, caplog, hangs: bool
):
    async with calling(component(patient.type), component(acting(yielding(Whole(1))), id="other")) as call:
        if hangs:
            patient.hangs = True
        else:
            patient.says = ValueError("no GPU left")
        await patient.replaced()
        patient.hangs, patient.says = False, None
        assert await call(id="other") == 1
        assert patient.closed[:1] == patient.made[:1]
        assert await call() == "well"
    said = "no answer within 0.01 s" if hangs else "ValueError: no GPU left"
    assert f"component 'it' is replaced; it is unhealthy: {said}" in caplog.text


async def test_a_component_that_is_unhealthy_twice_is_not_replaced(patient: Patient):
    async with calling(component(patient.type)) as call:
        for _ in range(3):
            patient.says = ValueError("a moment")
            await patient.asked_again(2)
            patient.says = None
            await patient.asked_again(1)
        assert await call() == "well"
        assert len(patient.made) == 1


async def test_a_health_check_that_cancels_itself_or_exits_counts_as_unhealthy(patient: Patient, caplog):
    async with calling(component(patient.type)):
        for raised in (asyncio.CancelledError(), SystemExit(3)):
            patient.says = raised  # type: ignore[assignment]
            await patient.replaced()
    assert "its health check cancelled itself" in caplog.text
    assert "raised SystemExit" in caplog.text


async def test_while_a_component_is_replaced_calls_are_told_to_come_back_and_it_is_set_up_until_it_works(
    patient: Patient,
):
    it = component(patient.type, secrets=("key-4711",))
    async with calling(it) as call:
        patient.says, patient.refuses = ValueError("bad key-4711"), ValueError("still bad")
        await until(lambda: it.trouble is not None)
        with pytest.raises(
            Unavailable, match=r"component 'it' is not available: unhealthy: ValueError: bad \*\*\*"
        ) as told:
            await call()
        assert told.value.details == {"retry_after": 1}
        await patient.asked_again(3)
        patient.says = patient.refuses = None
        await patient.set_up.wait()
        await until(lambda: it.trouble is None)
        assert await call() == "well"


async def test_calls_under_way_end_when_their_component_is_replaced(patient: Patient):
    async def run(input: Given) -> AsyncIterator[Chunk]:
        if input.text:
            yield input.text
        await asyncio.Event().wait()

    patient.does = run
    async with calling(component(patient.type, max_concurrent_count=2)) as call:
        stream, asking = await call("a"), asyncio.ensure_future(call())
        await turns()
        patient.says = ValueError("no")
        await patient.replaced()
        patient.says, patient.does = None, yielding(Whole("well"))
        got, error = await read(stream)
        assert (got, error and error.to_data()) == (
            ["a"], {"type": "unavailable", "message": "component 'it' was stopped while answering"},
        )  # fmt: skip
        with pytest.raises(Unavailable, match="component 'it' was stopped while answering"):
            await asking
        assert await call() == "well"


async def test_a_call_that_will_not_stop_holds_up_no_replacement(patient: Patient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(answerer, "STOP_DEADLINE", 0.0)
    release = asyncio.Event()

    async def run(input: Given) -> AsyncIterator[Chunk]:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        yield Whole("late")

    patient.does = run
    async with calling(component(patient.type, max_concurrent_count=1)) as call:
        asking = asyncio.ensure_future(call())
        await turns()
        patient.says = ValueError("no")
        with pytest.raises(Unavailable, match="was stopped while answering"):
            await asking
        await patient.replaced()
        patient.says, patient.does = None, yielding(Whole("well"))
        assert await call() == "well"
        release.set()
        await turns()


async def test_a_component_that_will_not_close_is_replaced_all_the_same(patient: Patient, monkeypatch, caplog):
    monkeypatch.setattr(life, "LONGEST_CLOSE", 0.0)

    async def close(self) -> None:
        await asyncio.Event().wait()

    patient.type.close = close  # type: ignore[method-assign]
    async with calling(component(patient.type)) as call:
        patient.says = ValueError("no")
        await patient.replaced()
        patient.says = None
        assert await call() == "well"
    assert "component 'it' could not be closed" in caplog.text


async def test_it_is_closed_while_it_is_being_replaced(patient: Patient):
    before = asyncio.all_tasks()
    it = component(patient.type)
    await start_all([it])
    patient.says, patient.refuses = ValueError("no"), ValueError("still no")
    async with asyncio.timeout(DEADLINE):
        await until(lambda: it.trouble is not None)
        await patient.asked_again(2)
        await it.aclose()
    assert it.trouble == "stopped"
    assert len(patient.closed) > len(patient.made)  # those that could not be set up are closed too
    await turns()
    assert asyncio.all_tasks() == before


async def test_a_component_that_could_not_be_set_up_comes_when_it_can(patient: Patient):
    it = component(patient.type)
    patient.refuses = ValueError("not yet")
    await it.start(insist=True)
    async with asyncio.timeout(DEADLINE):
        await patient.asked_again(2)
        patient.refuses = None
        await patient.set_up.wait()
        await until(lambda: it.trouble is None)
    await it.aclose()


async def test_where_some_cannot_be_set_up_all_are_named_and_the_others_closed():
    closed: list[str] = []

    async def close(self) -> None:
        closed.append(self.id)

    def failing(error: BaseException):
        async def setup(self) -> None:
            raise error

        return acting(yielding(), setup=setup, close=close)

    made = [
        component(acting(yielding(), close=close), id="fine"),
        component(failing(ValueError("no key-4711")), id="one", secrets=("key-4711",)),
        component(failing(SystemExit(3)), id="two"),
        component(failing(asyncio.CancelledError()), id="three"),
    ]
    with pytest.raises(Unavailable) as failed:
        await start_all(made)
    assert failed.value.message.splitlines() == [
        "t.yaml:1:1: component 'one' could not be set up: ValueError: no ***",
        "t.yaml:1:1: component 'two' could not be set up: SystemExit: 3",
        "t.yaml:1:1: component 'three' could not be set up: it cancelled itself",
    ]
    assert sorted(closed) == ["fine", "one", "three", "two"]


async def test_a_start_that_is_cancelled_closes_what_was_set_up():
    closed: list[str] = []
    begun = asyncio.Event()

    async def close(self) -> None:
        closed.append(self.id)

    async def setup(self) -> None:
        begun.set()
        await asyncio.Event().wait()

    quick = component(acting(yielding(), close=close), id="quick")
    slow = component(acting(yielding(), setup=setup, close=close), id="slow")
    starting = asyncio.ensure_future(start_all([quick, slow]))
    await begun.wait()
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert sorted(closed) == ["quick", "slow"]


async def test_closing_ends_calls_under_way_and_a_failure_to_close_goes_to_the_log(caplog):
    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield "a"
        await asyncio.Event().wait()

    async def close(self) -> None:
        raise ValueError("stuck")

    it, other = component(acting(run, close=close)), component(acting(run), id="other")
    async with calling(it, other) as call:
        stream = await call()
        assert isinstance(stream, Stream)
        await close_all([it, other])
        got, error = await read(stream)
        assert got == ["a"]
        assert isinstance(error, Unavailable)
        with pytest.raises(Unavailable, match="component 'it' is not available: stopped"):
            await call()
    assert "component 'it' could not be closed" in caplog.text
