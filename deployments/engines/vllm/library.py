"""What the driver needs of vLLM beyond its documentation, checked before an engine starts; and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from graphs.errors import ComponentFailed, InvalidInput, Overloaded, Unavailable

SETTINGS = {
    "VLLM_NO_USAGE_STATS": "1",
    # A replica has threads, and may have touched CUDA; neither survives a fork.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # On a CPU, vLLM would pin itself to cores that other replicas use too.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""What vLLM reads from the environment alone; a value that is set there already stays."""
CACHE_SPACE = "VLLM_CPU_KVCACHE_SPACE"
CONFIGURE_LOGGING = "VLLM_CONFIGURE_LOGGING"
LOGGING_CONFIG = "VLLM_LOGGING_CONFIG_PATH"
RETRY_AFTER = 1
"""Seconds until a full queue of vLLM's is worth another try: it empties as fast as answers end."""


@dataclass(frozen=True, slots=True)
class Library:
    """vLLM, imported."""

    arguments: Any
    """AsyncEngineArgs."""
    engine: Any
    """AsyncLLM."""
    platform: Any
    version: str
    logging: Mapping[str, Any]
    """The logging configuration of its processes, as `logging.config.dictConfig` takes it."""


def import_vllm(model: str) -> Library:
    """Return vLLM; `model` is named in the error where it can't be imported, or lacks what is needed."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from vllm import envs  # pyright: ignore[reportAttributeAccessIssue]
        from vllm.engine.arg_utils import AsyncEngineArgs  # pyright: ignore[reportMissingImports]
        from vllm.logger import DEFAULT_LOGGING_CONFIG  # pyright: ignore[reportMissingImports]
        from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]
        from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]
        from vllm.version import __version__  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise Unavailable(
            f"model {model!r}: the driver vllm can't be imported here ({first_line(error)}); "
            "install it: pip install 'anabranch[vllm]'"
        ) from error
    variables = (*SETTINGS, CACHE_SPACE, CONFIGURE_LOGGING, LOGGING_CONFIG)
    # getattr: `vllm.envs` answers for the variables that vLLM reads, and for no other.
    lacking = [f"it does not read {name}" for name in variables if not hasattr(envs, name)]
    if not isinstance(DEFAULT_LOGGING_CONFIG.get("loggers", {}).get("vllm", {}).get("handlers"), list):
        lacking.append("its DEFAULT_LOGGING_CONFIG has no handlers for the logger 'vllm'")
    if lacking:
        raise Unavailable(
            f"model {model!r}: vLLM {__version__} differs from the versions that anabranch is made for: "
            f"{'; '.join(lacking)}; install one of those that anabranch requires"
        )
    return Library(AsyncEngineArgs, AsyncLLM, current_platform, __version__, DEFAULT_LOGGING_CONFIG)


@contextmanager
def in_words(name: str) -> Generator[None]:
    """Turn vLLM's errors into ours; `name` is the model's."""
    from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMServerError  # pyright: ignore[reportMissingImports]
    from vllm.v1.engine.exceptions import EngineDeadError  # pyright: ignore[reportMissingImports]

    try:
        yield
    except EngineDeadError:
        raise Unavailable(
            f"model {name!r}: its vLLM engine died; the replica's log says why, and Serve starts another"
        ) from None
    except GracefulHTTPError as refusal:
        raise Overloaded(f"model {name!r}: {first_line(refusal)}", retry_after=RETRY_AFTER) from None
    except VLLMClientError as refusal:
        raise InvalidInput(f"model {name!r}: {first_line(refusal)}") from None
    except VLLMServerError as failure:
        # EngineGenerateError says nothing itself; what it was raised from does.
        raise ComponentFailed(
            f"model {name!r}: generation failed: {first_line(failure.__cause__ or failure)}"
        ) from failure


def first_line(error: BaseException) -> str:
    """Return the message of an error in one line: vLLM's own errors repeat their parameters behind it."""
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return next((line.strip() for line in message.splitlines() if line.strip()), type(error).__name__)
