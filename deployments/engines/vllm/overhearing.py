"""Why a process of vLLM failed, in one line: its traceback is in the log, and the replica learns only that it failed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deployments.engines.vllm.library import CONFIGURE_LOGGING, LOGGING_CONFIG

RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)$", re.MULTILINE)
"""The line that ends a traceback."""


@contextmanager
def overhearing(logging: Mapping[str, Any]) -> Generator[Callable[[], str | None]]:
    """Give a function that returns the first error of the processes started meanwhile; `logging` is vLLM's configuration."""
    if LOGGING_CONFIG in os.environ or os.environ.get(CONFIGURE_LOGGING) == "0":
        yield lambda: None  # the environment configures the logs itself
        return
    with TemporaryDirectory(prefix="anabranch-vllm-") as folder:
        errors, config = Path(folder, "errors.log"), Path(folder, "logging.json")
        config.write_text(json.dumps(_with_errors_to(errors, logging)), encoding="utf-8")
        os.environ[LOGGING_CONFIG] = str(config)
        try:
            yield lambda: _first(errors)
        finally:
            del os.environ[LOGGING_CONFIG]


def _with_errors_to(file: Path, logging: Mapping[str, Any]) -> dict[str, Any]:
    config = deepcopy(dict(logging))
    # Opened at once: the file's name goes before its handlers do, and a handler that can't open it would fail.
    config.setdefault("handlers", {})["errors"] = {
        "class": "logging.FileHandler", "filename": str(file), "level": "ERROR", "encoding": "utf-8",
    }  # fmt: skip
    config["loggers"]["vllm"]["handlers"].append("errors")
    return config


def _first(file: Path) -> str | None:
    """Return the first error in the file: later ones only repeat that it happened."""
    found = RAISED.search(file.read_text(encoding="utf-8")) if file.exists() else None
    return found[1].strip() if found else None
