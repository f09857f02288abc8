"""What vLLM raises -> the error that the caller is told."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from graphs.errors import ComponentFailed, InvalidInput, Overloaded, Unavailable

RETRY_AFTER = 1
"""Seconds until a full queue of vLLM's is worth another try: it empties as fast as answers end."""


@contextmanager
def in_words(name: str) -> Generator[None]:
    """Turn vLLM's errors into ours; `name` is the model's."""
    from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMServerError  # pyright: ignore[reportMissingImports]
    from vllm.v1.engine.exceptions import EngineDeadError  # pyright: ignore[reportMissingImports]

    try:
        yield
    except EngineDeadError:
        raise died(name) from None
    except GracefulHTTPError as refusal:
        raise Overloaded(f"model {name!r}: {first_line(refusal)}", retry_after=RETRY_AFTER) from None
    except VLLMClientError as refusal:
        raise InvalidInput(f"model {name!r}: {first_line(refusal)}") from None
    except VLLMServerError as failure:
        # EngineGenerateError says nothing itself; what it was raised from does.
        raise ComponentFailed(
            f"model {name!r}: generation failed: {first_line(failure.__cause__ or failure)}"
        ) from failure


def died(name: str) -> Unavailable:
    """Return the error of an engine whose process is gone."""
    return Unavailable(f"model {name!r}: its vLLM engine died; the replica's log says why, and Serve starts another")


def first_line(error: BaseException) -> str:
    """Return the message of an error in one line: vLLM's own errors repeat their parameters behind it."""
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return next((line.strip() for line in message.splitlines() if line.strip()), type(error).__name__)
