"""A document's device and precision -> a device of this replica, torch's type for its weights, and room for its cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from graphs.errors import Unavailable

SHARE = 0.4
"""Of the memory that is free once a model is loaded, how much keys and values may take: joining copies them."""
OF_ALL = 0.25
"""Of a machine's memory, where what is free can't be told from what only caches files."""
CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may take of the machine's, in cgroups' two versions."""


def choose_device(wanted: str | None, name: str) -> str:
    """Return the wanted device, or raise if the replica lacks it. Where none is named: the first GPU, else the CPU."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    match (wanted or "").partition(":"):
        case ("", _, _):
            return "cuda" if there else "cpu"
        case ("cuda", _, _) if not there:
            raise Unavailable(f"model {name!r}: there is no device {wanted}: {_why_no_gpu()}")
        case ("cuda", _, index) if index and int(index) >= there:
            raise Unavailable(
                f"model {name!r}: there is no device {wanted}: the replica has {there} GPU{'s' * (there > 1)}, "
                f"counted from 0; write `device: cuda`, or ask for more under `resources: {{num_gpus: …}}`"
            )
        case ("mps", _, _) if not torch.backends.mps.is_available():
            raise Unavailable(
                f"model {name!r}: there is no device mps: this machine is not a Mac with a GPU; leave `device` out"
            )
        case _:
            return str(wanted)


def choose_precision(wanted: str, device: str) -> torch.dtype:
    """Return the type of the weights. By default float32 on a CPU, and on a GPU the half precision it is made for."""
    if wanted != "auto":
        return getattr(torch, wanted)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if device == "mps" else torch.float32


def placed(device: str) -> str:
    """Return the device in words."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' * (threads > 1)})" if device == "cpu" else device


def memory(device: str) -> int:
    """Return the bytes this process holds: on the GPU, else in RAM."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    try:
        with open("/proc/self/statm") as told:  # noqa: PTH123  (no file of ours)
            return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # macOS has no /proc
        return 0


def affordable(size: int, device: torch.device) -> int | None:
    """Return how many tokens of so many bytes there is memory for; None where tokens take none."""
    if not size:
        return None
    if device.type == "cuda":
        room = torch.cuda.mem_get_info(device)[0] * SHARE
    else:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        room = min([machine, *_limits()]) * OF_ALL
    return max(1, int(room) // size)


def _limits() -> Iterator[int]:
    for path in CONTAINER:
        with suppress(OSError, ValueError):  # there is no such file, or it says `max`
            yield int(Path(path).read_text())


def _why_no_gpu() -> str:
    """Return why torch sees no GPU, and what to do: install, ask for one, or look at the node."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "the installed PyTorch is built for CPUs only; install the CUDA build, or leave `device` out"
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return "the replica was given no GPU; write `resources: {num_gpus: 1}`, or leave `device` out"
    return "PyTorch finds no GPU on this node; run nvidia-smi there, or leave `device` out"
