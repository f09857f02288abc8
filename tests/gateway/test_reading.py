"""A reader of a run that goes on while it reads what the store has: it misses nothing, and gets nothing twice."""

from pathlib import Path

from deployments.gateway.entries import Accepted
from deployments.gateway.kept import Kept
from deployments.gateway.log import WINDOW, OwnLog
from deployments.runs.events import Delta, Finished
from deployments.store.rows import NewRun
from graphs.errors import AnabranchError
from graphs.plan import Store

TEXT = "x" * 200
MORE_THAN_A_WINDOW = 2 * WINDOW // len(TEXT)


def as_it_is(error: AnabranchError) -> AnabranchError:
    return error


async def test_what_leaves_memory_while_a_reader_is_in_the_store_is_read_from_the_store(file: Path):
    kept = Kept(Store(url=f"sqlite:///{file}"), lambda *_: NotImplemented, as_it_is)
    store = await kept._open()
    log = OwnLog("a", store.mark)
    first = log.accept(Accepted("story", None))
    await store.accept(NewRun("a", "story", None, None, 1.0, "continue", first))

    async def say_more() -> None:
        for _ in range(MORE_THAN_A_WINDOW):
            log.say(Delta([TEXT]))
        await store.flush()

    await say_more()
    assert log.base > 0
    numbers: list[int] = []
    async for entry in kept._live(log, -1):
        if not numbers:
            await say_more()
            log.say(Finished(None, streamed=True))
            await store.flush()
        numbers.append(entry.first)
    assert numbers == list(range(2 * MORE_THAN_A_WINDOW + 2))
    await kept.aclose()
