"""Files that have changed are named once they are written; `.env` beside a document and code are watched too."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.dev import watching
from deployments.dev.watching import Watch
from tests.local.acting import DEADLINE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(watching, "INTERVAL", 0.0)
    (tmp_path / "my.yaml").write_text("a: 1")
    return tmp_path


async def changed(watch: Watch) -> list[str]:
    async with asyncio.timeout(DEADLINE):
        return [path.name for path in await watch.changed()]


async def test_a_document_that_is_written_replaced_or_removed_has_changed(folder: Path):
    path = folder / "my.yaml"
    watch = Watch([path])
    path.write_text("a: 2, longer")
    assert await changed(watch) == ["my.yaml"]
    (folder / "new").write_text("a: 3")
    (folder / "new").replace(path)
    assert await changed(watch) == ["my.yaml"]
    path.unlink()
    assert await changed(watch) == ["my.yaml"]
    path.write_text("a: 4")
    assert await changed(watch) == ["my.yaml"]


async def test_what_has_not_changed_is_waited_for(folder: Path):
    watch = Watch([folder / "my.yaml"])
    (folder / "other.yaml").write_text("a: 2")
    waiting = asyncio.ensure_future(watch.changed())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    (folder / "my.yaml").write_text("a: 23")
    assert [path.name for path in await waiting] == ["my.yaml"]


async def test_env_files_beside_documents_and_code_that_is_added_are_watched(folder: Path):
    code = folder / "code.py"
    code.write_text("1")
    watch = Watch([folder / "my.yaml"])
    (folder / ".env").write_text("KEY=1")
    assert await changed(watch) == [".env"]
    watch.add([code], code.stat().st_mtime_ns)
    (folder / ".env").write_text("KEY=12")
    code.write_text("12")
    assert sorted(await changed(watch)) == [".env", "code.py"]


async def test_code_that_was_written_after_it_was_read_has_changed(folder: Path):
    code = folder / "code.py"
    code.write_text("1")
    watch = Watch([folder / "my.yaml"])
    watch.add([code], code.stat().st_mtime_ns - 1)
    assert await changed(watch) == ["code.py"]


async def test_a_file_that_is_still_being_written_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch):
    path = folder / "my.yaml"
    watch = Watch([path])
    texts = iter(["a: [1,", "a: [1, 2,", "a: [1, 2, 3]"])
    sleep = asyncio.sleep

    async def writing(seconds: float) -> None:
        if (text := next(texts, None)) is not None:
            path.write_text(text)
        await sleep(0)

    monkeypatch.setattr(watching.asyncio, "sleep", writing)
    seen = [each async for each in every(watch, 1)]
    assert seen == [(["my.yaml"], "a: [1, 2, 3]")]


async def every(watch: Watch, times: int):
    for _ in range(times):
        paths = await watch.changed()
        yield [path.name for path in paths], paths[0].read_text()


async def test_a_file_of_the_same_size_and_time_that_is_another_one_has_changed(folder: Path):
    path = folder / "my.yaml"
    watch = Watch([path])
    known = path.stat()
    (folder / "new").write_text("b: 1")
    os.utime(folder / "new", ns=(known.st_atime_ns, known.st_mtime_ns))
    (folder / "new").replace(path)
    assert await changed(watch) == ["my.yaml"]


async def test_what_is_kept_of_runs_beside_the_document_is_not_watched(folder: Path):
    watch = Watch([folder / "my.yaml"])
    waiting = asyncio.ensure_future(watch.changed())
    (folder / ".anabranch").mkdir()
    for name in ("runs.db", "runs.db-wal", "runs.db-shm", "runs.db.lock"):
        (folder / ".anabranch" / name).write_text("1")
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    (folder / "my.yaml").write_text("a: 23")
    assert [path.name for path in await waiting] == ["my.yaml"]
