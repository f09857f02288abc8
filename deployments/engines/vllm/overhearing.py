"""vLLM's processes fail with tracebacks in the log, and tell the replica only that they did: why, in one line."""

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

SETTING = "VLLM_LOGGING_CONFIG_PATH"
RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)$", re.MULTILINE)
"""The line that ends a traceback."""


@contextmanager
def overhearing(logging: Mapping[str, Any]) -> Generator[Callable[[], str | None]]:
    """Give what returns the first error of the processes started meanwhile; `logging` is vLLM's own configuration."""
    if SETTING in os.environ or os.environ.get("VLLM_CONFIGURE_LOGGING") == "0":
        yield lambda: None  # its owner has other plans for its logs
        return
    with TemporaryDirectory(prefix="anabranch-vllm-") as folder:
        errors, config = Path(folder, "errors.log"), Path(folder, "logging.json")
        config.write_text(json.dumps(_with_errors_to(errors, logging)), encoding="utf-8")
        os.environ[SETTING] = str(config)
        try:
            yield lambda: _first(errors)
        finally:
            del os.environ[SETTING]


def _with_errors_to(file: Path, logging: Mapping[str, Any]) -> dict[str, Any]:
    config = deepcopy(dict(logging))
    # Opened at once: the handlers outlive the file's name, and one that can't open it then would fail who logs.
    config["handlers"]["errors"] = {
        "class": "logging.FileHandler", "filename": str(file), "level": "ERROR", "encoding": "utf-8",
    }  # fmt: skip
    config["loggers"]["vllm"]["handlers"].append("errors")
    return config


def _first(file: Path) -> str | None:
    """Return the first error there: later ones say that it happened."""
    found = RAISED.search(file.read_text(encoding="utf-8")) if file.exists() else None
    return found[1].strip() if found else None
