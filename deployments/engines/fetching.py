"""A hub id or a folder -> a folder with the model's files; what is missing is downloaded, and the log says how far it is."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from deployments.engines.devices import in_bytes
from graphs.component import truth
from graphs.errors import InvalidInput, Unavailable

logger = logging.getLogger("anabranch.model")

CONFIG = "config.json"
TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "*.spm", "*.bpe", "*.tiktoken", "*.vocab")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""The first kind that a repository has is enough."""
TWICE = ("consolidated*",)
"""The same weights once more, in a form of the model's makers."""
OF_POOLING = ("[0-9]*_*/*.json",)
"""How sentence-transformers pools, in folders of its own."""
TELL_EVERY = 5.0
"""Seconds between two lines about a download."""


def fetch(name: str, options: Mapping[str, Any]) -> Path:
    """Return the folder with all that loading the model takes."""
    if is_folder(name):
        return _folder(name)
    revision: str | None = options.get("revision")
    with told_plainly(name):
        listed = _listed(name, revision, code=trusts_code(options))
        return _cached(name, revision) if listed is None else _downloaded(name, revision, *listed)


def fetch_config(name: str, options: Mapping[str, Any]) -> Path:
    """Return the folder with the model's config.json, for who downloads the rest in ways of their own."""
    if is_folder(name):
        return _folder(name)
    from huggingface_hub import hf_hub_download

    with told_plainly(name):
        return Path(hf_hub_download(name, CONFIG, revision=options.get("revision"))).parent


def trusts_code(options: Mapping[str, Any]) -> bool:
    """Tell whether code that a model brings may run; nothing but a clear yes is one."""
    said = options.get("trust_remote_code")
    if isinstance(said, str) and said.strip().casefold() in ("true", "false", "yes", "no", "on", "off"):
        return truth(said)
    if said is None or isinstance(said, bool):
        return bool(said)
    raise InvalidInput(
        f"options: expected true or false for trust_remote_code, got {said!r}", field="options.trust_remote_code"
    )


def is_folder(name: str) -> bool:
    """Tell a folder from a hub id."""
    return name.startswith(("/", "./", "../", "~")) or Path(name).is_dir()


@contextmanager
def told_plainly(name: str) -> Generator[None]:
    """Turn what the hub's client raises into one line that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.GatedRepoError, errors.DisabledRepoError) as error:
        what = "is gated" if isinstance(error, errors.GatedRepoError) else "was taken down by the hub"
        todo = f"; accept its terms at https://huggingface.co/{name}, then set HF_TOKEN" if "gated" in what else ""
        raise Unavailable(f"model {name!r} {what}{todo}") from error
    except errors.RevisionNotFoundError as error:
        raise Unavailable(f"model {name!r} has no such revision; look at its branches and tags on the hub") from error
    except errors.RepositoryNotFoundError as error:
        raise Unavailable(
            f"there is no model {name!r} on the hub, or it is private; write another id or a folder (./…), "
            "or set HF_TOKEN"
        ) from error
    except errors.HFValidationError as error:
        raise Unavailable(
            f"model {name!r} is neither a folder here nor a hub id; write an id like gpt2 or org/name, or ./a-folder"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise Unavailable(_not_cached(name)) from error
    except errors.EntryNotFoundError as error:
        raise Unavailable(f"model {name!r} has no {CONFIG} on the hub, so it can't be loaded from there") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise Unavailable(f"model {name!r}: the hub answered {status}; try again later, or write a folder") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise Unavailable(_no_space(name, None)) from error


def _folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise Unavailable(f"there is no folder {name!r} on this node; write another, or a hub id like gpt2")
    if not (folder / CONFIG).is_file():
        raise Unavailable(f"the folder {name!r} has no {CONFIG}, so it holds no model; write the one that does")
    return folder


def _listed(name: str, revision: str | None, *, code: bool) -> tuple[str, dict[str, int]] | None:
    """Return the commit and the files to have with their sizes; None when the hub can't be asked."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        found = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=30)
    except (OfflineModeIsEnabled, ConnectionError):
        return None
    except Exception as error:
        if not _unreachable(error):
            raise
        logger.warning("the hub can't be reached; taking model %s from the cache if it is there", name)
        return None
    files = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    return str(found.sha), {file: files[file] for file in wanted(list(files), code=code)}


def wanted(files: Sequence[str], *, code: bool = False) -> list[str]:
    """Return which files of a repository a model is loaded from: no second copy of the weights, no other framework's."""
    top = [file for file in files if "/" not in file and not _any(file, TWICE)]
    texts = [file for file in top if _any(file, TEXTS) or (code and file.endswith(".py"))]
    weights = next((found for kind in WEIGHTS if (found := [file for file in top if fnmatch(file, kind)])), [])
    return [*texts, *weights, *(file for file in files if _any(file, OF_POOLING))]


def _cached(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[CONFIG]))


def _downloaded(name: str, revision: str | None, commit: str, files: Mapping[str, int]) -> Path:
    from huggingface_hub import snapshot_download, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE

    if CONFIG not in files:
        raise Unavailable(f"model {name!r} has no {CONFIG} on the hub, so it can't be loaded from there")
    missing = {
        file: size
        for file, size in files.items()
        if not isinstance(try_to_load_from_cache(name, file, revision=commit), str)
    }
    cache = Path(HF_HUB_CACHE)
    _refuse_without_space(name, cache, sum(missing.values()))
    with _progress(name, cache / f"models--{name.replace('/', '--')}" / "blobs", missing):
        # By its name, not its commit: else the cache couldn't find it by name without a network.
        return Path(snapshot_download(name, revision=revision, allow_patterns=[_literally(file) for file in files]))


def _refuse_without_space(name: str, cache: Path, need: int) -> None:
    above = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if need > shutil.disk_usage(above).free:
        raise Unavailable(_no_space(name, need))


@contextmanager
def _progress(name: str, blobs: Path, missing: Mapping[str, int]) -> Generator[None]:
    """Tell every few seconds how much is there, by what lies on the disk: bars are for terminals, and this is a log."""
    if not missing:
        yield
        return
    total, before, done = sum(missing.values()), _size(blobs), threading.Event()
    logger.info("downloading %s: %d files, %s", name, len(missing), in_bytes(total))
    began = time.monotonic()

    def tell() -> None:
        while not done.wait(TELL_EVERY):
            logger.info("downloading %s: %s of %s", name, in_bytes(_size(blobs) - before), in_bytes(total))

    teller = threading.Thread(target=tell, name=f"download of {name}", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
    logger.info("downloaded %s: %s in %.1f s", name, in_bytes(total), time.monotonic() - began)


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:  # not there yet, or a part that was just put in its place
        return 0


def _unreachable(error: Exception) -> bool:
    """Tell a network that isn't there from an answer: the client's library has changed before (requests, httpx)."""
    kinds = {cls.__name__ for cls in type(error).__mro__}
    return bool(kinds & {"ConnectError", "TransportError", "TimeoutException", "ConnectionError", "RequestException"})


def _not_cached(name: str) -> str:
    from huggingface_hub import constants

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub can't be reached"
    return (
        f"model {name!r} is not in the cache ({constants.HF_HUB_CACHE}), and {why}; "
        f"download it where there is a network (hf download {name}), or write a folder"
    )


def _no_space(name: str, need: int | None) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    what = f"there is no room for its {in_bytes(need)} at" if need else "the disk is full at"
    return f"model {name!r}: {what} {HF_HUB_CACHE}; free some, or set HF_HOME to a folder on another disk"


def _any(file: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(file, pattern) for pattern in patterns)


def _literally(file: str) -> str:
    """Return the pattern that means this file alone."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in file)
