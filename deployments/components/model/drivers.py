"""A model's name and its component's Config -> the Engine that runs it, by the driver that the Config names."""

from __future__ import annotations

import asyncio

from deployments.components.model.checks import OWN_OPTIONS
from deployments.components.model.fields import ModelConfig
from deployments.engines.engine import Engine


async def start_engine(name: str, config: ModelConfig) -> Engine:
    """Return the engine, its model loaded."""
    options = {key: value for key, value in config.options.items() if key not in OWN_OPTIONS}
    if config.driver == "vllm":
        from deployments.engines.vllm import VLLM

        return await VLLM.start(
            name, task=config.task, device=config.device, precision=config.precision, options=options
        )
    from deployments.engines.huggingface import engine as huggingface
    from deployments.engines.huggingface.loading import load

    own = {key: options.pop(key) for key in huggingface.OPTIONS if key in options}
    loaded = await asyncio.to_thread(load, name, config.task, config.device, config.precision, options)
    return huggingface.HuggingFace(loaded, **own)
