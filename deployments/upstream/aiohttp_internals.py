"""What is used of aiohttp beyond its documentation: checked when this is imported, and used nowhere else."""

from __future__ import annotations

import aiohttp
from aiohttp.abc import AbstractStreamWriter

_NEEDED = (
    (aiohttp.StreamReader, "_read_nowait"),
    # Public, but read by aiohttp only where a payload of our own overrides them; without that an upload could be sent twice.
    (aiohttp.Payload, "size"),
    (aiohttp.Payload, "consumed"),
    (aiohttp.Payload, "autoclose"),
    (AbstractStreamWriter, "transport"),
)


def check() -> None:
    """Raise ImportError if the installed aiohttp lacks anything of this."""
    # getattr: absence is what this looks for.
    missing = [f"{owner.__name__}.{name}" for owner, name in _NEEDED if not hasattr(owner, name)]
    if missing:
        raise ImportError(
            f"aiohttp {aiohttp.__version__} has no {', '.join(missing)}; install a version that pyproject.toml allows"
        )


def buffered(content: aiohttp.StreamReader) -> bytes:
    """Take what has come of a body whose connection then failed: every public method raises the failure first."""
    return content._read_nowait(-1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


check()
