"""What torch raises while generating, in words for the one whose answer it was."""

from __future__ import annotations

import torch

from graphs.errors import AnabranchError, ComponentFailed, Unavailable


def told(error: BaseException, name: str) -> AnabranchError:
    """Return the error a reader is told."""
    if isinstance(error, AnabranchError):
        return error
    if out_of_memory(error):
        _give_back()
        return Unavailable(
            f"the model {name} has no memory left for this answer; ask for fewer tokens, or lower max_batch_size under options"
        )
    return ComponentFailed(f"the model {name} failed: {words(error)}")


def words(error: BaseException) -> str:
    """Return the first line of what an exception says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def reraise_fatal(error: BaseException) -> None:
    """Raise again what no later step can survive: a device that has failed stays so."""
    if fatal(error):
        raise error


def fatal(error: BaseException) -> bool:
    """Tell whether the device has failed."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)


def _give_back() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
