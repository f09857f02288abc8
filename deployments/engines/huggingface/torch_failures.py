"""What torch raises, in words for the client or the author of the document."""

from __future__ import annotations

import torch

from graphs.errors import AnabranchError, ComponentFailed, Unavailable, first_line


def public_error(error: BaseException, name: str) -> AnabranchError:
    """Return the error that the client gets."""
    if isinstance(error, AnabranchError):
        return error
    if out_of_memory(error):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return Unavailable(
            f"the model {name} has no memory left for this answer; ask for fewer tokens, or lower max_batch_size under options"
        )
    return ComponentFailed(f"the model {name} failed: {words(error)}")


def words(error: BaseException) -> str:
    """Return an exception's class and the first line of what it says."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def out_of_memory(error: BaseException) -> bool:
    """Return whether there was no memory, on the GPU or in RAM: for the latter torch has no class, only this text."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def reraise_fatal(error: BaseException) -> None:
    """Raise an error again that no later step can survive: a device that has failed stays failed."""
    if fatal(error):
        raise error


def fatal(error: BaseException) -> bool:
    """Return whether the device has failed."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)
