"""An engine for each module of tests, small enough for a CPU; where vLLM isn't installed there is nothing to collect."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.vllm import models

if TYPE_CHECKING:
    from deployments.engines.vllm.engine import VLLM

THERE = importlib.util.find_spec("vllm") is not None
collect_ignore_glob = [] if THERE else ["test_*.py"]

OPTIONS: dict[str, Any] = {"kv_cache_memory_bytes": 64 * 2**20, "max_num_seqs": 16}


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """One thread for each engine's process, no network, and vLLM imported: its modules and torch's warn as they are."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("VLLM_LOGGING_LEVEL", os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"))
        warnings.simplefilter("ignore")
        import vllm.v1.engine.async_llm  # noqa: F401

        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[VLLM]:
    """A chat model with random weights."""
    engine = await started("llama-chat", "chat-completion")
    yield engine
    await engine.aclose()


async def started(kind: str, task: str, **options: Any) -> VLLM:
    from deployments.engines.vllm.engine import VLLM

    return await VLLM.start(str(models.model(kind)), task=task, precision="float32", options={**OPTIONS, **options})
