"""install, build and clean."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from deployments.servers.commands import HttpServerConfig
from deployments.servers.output import Output
from deployments.servers.scripts import clean, prepare
from graphs.errors import Unavailable


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (made := tmp_path / "server").mkdir()
    return made


def config(folder: Path, **scripts: str) -> HttpServerConfig:
    return HttpServerConfig.model_validate({"start": "serve", "port": 1, "working_dir": str(folder), **scripts})


def done(folder: Path) -> list[str]:
    return (folder / "done").read_text().split()


def renew(folder: Path, old: Path) -> None:
    folder.rename(old)
    folder.mkdir()


async def test_install_runs_once_and_build_every_time(folder: Path):
    asked = config(folder, install="echo install >> done", build="echo build >> done")
    await prepare(asked, Output("it"))
    await prepare(asked, Output("it"))
    assert done(folder) == ["install", "build", "build"]


async def test_another_install_or_another_environment_runs_again(folder: Path):
    await prepare(config(folder, install="echo one >> done"), Output("it"))
    await prepare(config(folder, install="echo two >> done"), Output("it"))
    asked: dict[str, Any] = {**config(folder, install="echo one >> done").model_dump(), "env": {"VERSION": "2"}}
    await prepare(HttpServerConfig.model_validate(asked), Output("it"))
    assert done(folder) == ["one", "two", "one"]


async def test_install_runs_again_in_a_folder_that_was_made_anew(folder: Path, tmp_path: Path):
    asked = config(folder, install="echo install >> done")
    await prepare(asked, Output("it"))
    renew(folder, tmp_path / "old")
    await prepare(asked, Output("it"))
    assert done(folder) == ["install"]


async def test_replicas_that_start_together_install_one_after_the_other(folder: Path):
    asked = config(
        folder, install="mkdir lock; echo install >> done; sleep 0.1; rmdir lock", build="echo build >> done"
    )
    await asyncio.gather(*(prepare(asked, Output("it")) for _ in range(3)))
    assert done(folder) == ["install", "build", "build", "build"]


async def test_a_script_that_fails_says_why_and_is_run_again(folder: Path):
    asked = config(folder, install="echo 'no space left'\ntest -e ready\necho installed >> done")
    with pytest.raises(Unavailable, match="its install script ended with status 1; it said last:\nno space left"):
        await prepare(asked, Output("it"))
    (folder / "ready").touch()
    await prepare(asked, Output("it"))
    assert done(folder) == ["installed"]


async def test_a_script_that_cannot_run_is_named():
    asked = HttpServerConfig.model_validate({"start": "serve", "build": ["no-such-tool"]})
    with pytest.raises(Unavailable, match="its build script can't be run: there is no command 'no-such-tool'"):
        await prepare(asked, Output("it"))


async def test_where_the_cache_cannot_be_written_the_mark_lies_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "cache").write_text("a file, not a folder")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    asked = config(folder, install="echo install >> done")
    await prepare(asked, Output("it"))
    await prepare(asked, Output("it"))
    assert done(folder) == ["install"]


async def test_clean_runs_and_its_failure_is_logged_alone(folder: Path, caplog: pytest.LogCaptureFixture):
    await clean(config(folder, clean="echo clean >> done"), Output("it"))
    assert done(folder) == ["clean"]
    with caplog.at_level(logging.ERROR, "anabranch.servers"):
        await clean(config(folder, clean="exit 3"), Output("it"))
    assert "its clean script ended with status 3" in caplog.text
