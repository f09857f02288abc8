"""Run an http-server's `install`, `build` and `clean`, each to its end; install once on a machine."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from deployments.servers.commands import CLEAN_LIMIT, HttpServerConfig, command
from deployments.servers.output import Output
from deployments.servers.process import Process
from graphs.errors import AnabranchError, Unavailable

logger = logging.getLogger("anabranch.servers")

LIMIT = 3600.0
"""The longest that install or build may take: they download and compile."""
LOOK = 0.2
"""Seconds between two looks at a lock that another replica holds."""


async def prepare(config: HttpServerConfig, output: Output) -> None:
    """Run install, if it hasn't been on this machine, and build; one replica at a time."""
    if config.install is None and config.build is None:
        return
    with _mark(config).open("a+") as mark:
        async with asyncio.timeout(2 * LIMIT):
            while not _lock(mark.fileno()):  # noqa: ASYNC110  (another process holds it)
                await asyncio.sleep(LOOK)
        if config.install is not None and not os.fstat(mark.fileno()).st_size:
            await _run("install", config, config.install, LIMIT, output)
            mark.write("installed\n")
        if config.build is not None:
            await _run("build", config, config.build, LIMIT, output)


async def clean(config: HttpServerConfig, output: Output) -> None:
    """Run clean; nothing waits for it, so its failure is only logged."""
    if config.clean is not None:
        try:
            await _run("clean", config, config.clean, CLEAN_LIMIT, output)
        except AnabranchError as error:
            logger.error("%s", error.message)


async def _run(name: str, config: HttpServerConfig, words: list[str], limit: float, output: Output) -> None:
    try:
        process = await Process.start(command(config, words, config.port), output)
    except Unavailable as error:
        raise error.at(f"its {name} script can't be run") from None
    try:
        async with asyncio.timeout(limit):
            ending = await process.wait()
    except TimeoutError:
        raise Unavailable(output.quoted(f"its {name} script did not end within {limit:g} s")) from None
    finally:
        await process.stop(0)
    if ending.status != 0:
        raise Unavailable(output.quoted(f"its {name} script {ending}"))


def _mark(config: HttpServerConfig) -> Path:
    """Return the file that says whether this has been installed: by this command, in this folder, for this Python."""
    install = command(config, config.install or (), config.port)
    folder = Path(install.folder or ".").absolute()
    made = folder.stat() if folder.is_dir() else None  # one that was deleted and made anew has another number
    of = [install.words, dict(config.env), str(folder), made and [made.st_dev, made.st_ino], sys.prefix]
    name = hashlib.sha256(json.dumps(of).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "anabranch"
    for place in (cache, Path(tempfile.gettempdir()) / f"anabranch-{os.getuid()}"):
        with suppress(OSError):  # an image may have no home
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            (place / name).touch()
            return place / name
    raise Unavailable(f"can't note that install has run: neither {cache} nor {tempfile.gettempdir()} can be written")


def _lock(file: int) -> bool:
    """Take the lock if it is free; the system frees it when its holder is killed."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
