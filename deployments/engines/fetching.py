"""A hub id or a folder -> a folder with the model's files. Missing files are downloaded, and the log shows the progress.

All that uses huggingface_hub stands here.
"""

from __future__ import annotations

import errno
import glob
import logging
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from graphs.component import truth
from graphs.errors import InvalidInput, Unavailable

logger = logging.getLogger("anabranch.model")

CONFIG = "config.json"
TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "*.spm", "*.bpe", "*.tiktoken", "*.vocab")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""The first kind that a repository has is enough."""
TWICE = ("consolidated*",)
"""A second copy of the weights, in the format of the model's makers."""
OF_POOLING = ("[0-9]*_*/*.json",)
"""How sentence-transformers pools, in folders of its own."""
LOG_EVERY = 5.0
"""Seconds between two lines about a download."""


def fetch(name: str, options: Mapping[str, Any]) -> Path:
    """Return the folder with all files that the model is loaded from."""
    if is_folder(name):
        return _folder(name)
    revision: str | None = options.get("revision")
    with hub_errors(name):
        listed = _listed(name, revision, code=trusts_code(options))
        if listed is not None:
            return _downloaded(name, revision, *listed)
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[CONFIG]))


def fetch_config(name: str, options: Mapping[str, Any]) -> Path:
    """Return the folder with the model's config.json, for a driver that downloads the weights itself."""
    if is_folder(name):
        return _folder(name)
    from huggingface_hub import hf_hub_download

    with hub_errors(name):
        return Path(hf_hub_download(name, CONFIG, revision=options.get("revision"))).parent


def trusts_code(options: Mapping[str, Any]) -> bool:
    """Return whether code that a model brings may run; only a clear yes allows it."""
    said = options.get("trust_remote_code")
    if isinstance(said, str) and said.strip().casefold() in ("true", "false", "yes", "no", "on", "off"):
        return truth(said)
    if said is None or isinstance(said, bool):
        return bool(said)
    raise InvalidInput(
        f"options: expected true or false for trust_remote_code, got {said!r}", field="options.trust_remote_code"
    )


def is_folder(name: str) -> bool:
    """Return whether a name is a folder; else it is a hub id."""
    return name.startswith(("/", "./", "../", "~")) or Path(name).is_dir()


@contextmanager
def hub_errors(name: str) -> Generator[None]:
    """Turn the errors of the hub's client into one line that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.HfHubHTTPError, errors.EntryNotFoundError, errors.HFValidationError) as error:
        raise Unavailable(_in_words(error, name)) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise Unavailable(_no_space(name, "the disk is full at")) from error


def _in_words(error: Exception, name: str) -> str:
    from huggingface_hub import constants, errors

    cached = f"model {name!r} is not in the cache ({constants.HF_HUB_CACHE}), and "
    cached += "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub can't be reached"
    # The first kind that fits counts: some of them are kinds of others.
    said: dict[type[Exception], str] = {
        errors.GatedRepoError: f"model {name!r} is gated; accept its terms at https://huggingface.co/{name}, then set "
        "HF_TOKEN",
        errors.DisabledRepoError: f"model {name!r} was taken down by the hub; write another id or a folder (./…)",
        errors.RevisionNotFoundError: f"model {name!r} has no such revision; look at its branches and tags on the hub",
        errors.RepositoryNotFoundError: f"there is no model {name!r} on the hub, or it is private; write another id or a "
        "folder (./…), or set HF_TOKEN",
        errors.HFValidationError: f"model {name!r} is neither a folder here nor a hub id; write an id like gpt2 or "
        "org/name, or ./a-folder",
        errors.LocalEntryNotFoundError: f"{cached}; download it where there is a network (hf download {name}), or write "
        "a folder",
        errors.EntryNotFoundError: _no_config(name),
    }
    found = next((message for kind, message in said.items() if isinstance(error, kind)), None)
    if found is None:
        assert isinstance(error, errors.HfHubHTTPError)
        found = f"model {name!r}: the hub answered {error.response.status_code}; try again later, or write a folder"
    return found


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise Unavailable(f"there is no folder {name!r} on this node; write another, or a hub id like gpt2")
    if not (folder / CONFIG).is_file():
        raise Unavailable(f"the folder {name!r} has no {CONFIG}, so it holds no model; write the one that does")
    return folder


def _listed(name: str, revision: str | None, *, code: bool) -> tuple[str, dict[str, int]] | None:
    """Return the commit and the needed files with their sizes; None when the hub can't be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]  (of whichever HTTP library the client is built on)
        OfflineModeIsEnabled,
    )

    try:
        found = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=30)
    except HfHubHTTPError:
        raise  # an answer of the hub
    except OfflineModeIsEnabled:
        return None
    except HTTPError:  # the library's other errors are about the network
        logger.warning("the hub can't be reached; taking model %s from the cache if it is there", name)
        return None
    files = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    if CONFIG not in files:
        raise Unavailable(_no_config(name))
    return str(found.sha), {file: files[file] for file in wanted(list(files), code=code)}


def wanted(files: Sequence[str], *, code: bool = False) -> list[str]:
    """Return the files that a model is loaded from: one copy of the weights, and no other framework's."""
    top = [file for file in files if "/" not in file and not _any(file, TWICE)]
    texts = [file for file in top if _any(file, TEXTS) or (code and file.endswith(".py"))]
    weights = next((found for kind in WEIGHTS if (found := [file for file in top if fnmatch(file, kind)])), [])
    return [*texts, *weights, *(file for file in files if _any(file, OF_POOLING))]


def _downloaded(name: str, revision: str | None, commit: str, files: Mapping[str, int]) -> Path:
    from huggingface_hub import constants, snapshot_download, try_to_load_from_cache

    cached = (file for file in files if isinstance(try_to_load_from_cache(name, file, revision=commit), str))
    missing = files.keys() - set(cached)
    total = sum(files[file] for file in missing)
    cache = Path(constants.HF_HUB_CACHE)
    above = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if total > shutil.disk_usage(above).free:
        raise Unavailable(_no_space(name, f"there is no room for its {in_bytes(total)} at"))
    if missing:
        logger.info("downloading %s: %d files, %s", name, len(missing), in_bytes(total))
    began = time.monotonic()
    # By its name, not its commit: else the cache couldn't find it by name without a network.
    folder = snapshot_download(
        name, revision=revision, allow_patterns=[glob.escape(file) for file in files],
        tqdm_class=_bar(lambda done: logger.info("downloading %s: %s of %s", name, in_bytes(done), in_bytes(total))),
    )  # fmt: skip
    if missing:
        logger.info("downloaded %s: %s in %.1f s", name, in_bytes(total), time.monotonic() - began)
    return Path(folder)


def _bar(log: Callable[[float], object]) -> Any:
    """Return a class of progress bars that draws nothing, and calls `log` with the bytes so far every few seconds."""
    from tqdm import tqdm

    next_line = time.monotonic() + LOG_EVERY
    done = 0.0

    class Bar(tqdm):  # pyright: ignore[reportMissingTypeArgument]
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **{**more, "disable": True})
            # The client has bars for bytes, and one for files.
            self._of_bytes = more.get("unit") == "B"

        def update(self, n: float | None = 1) -> None:
            nonlocal done, next_line
            self.n += n or 0
            if self._of_bytes:
                done = max(done, self.n)  # one counts what was received, another what was written
                if time.monotonic() >= next_line:
                    next_line = time.monotonic() + LOG_EVERY
                    log(done)

    return Bar


def in_bytes(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _no_config(name: str) -> str:
    return f"model {name!r} has no {CONFIG} on the hub, so it can't be loaded from there"


def _no_space(name: str, what: str) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return f"model {name!r}: {what} {HF_HUB_CACHE}; free some, or set HF_HOME to a folder on another disk"


def _any(file: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(file, pattern) for pattern in patterns)
