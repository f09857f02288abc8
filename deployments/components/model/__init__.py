"""Text or messages go to a language model; what it generates comes back, token by token or whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from deployments.components.model.checks import OWN_OPTIONS, check_component, check_placement, find_model
from deployments.components.model.fields import ModelConfig, ModelInput
from deployments.components.model.offers import offers
from graphs.component import Chunk, Component, Offer
from graphs.errors import InvalidInput

if TYPE_CHECKING:
    from deployments.engines.engine import Engine
    from deployments.engines.model_pool import Pool


class Model(Component[ModelConfig, ModelInput]):
    """Runs a language model in its replicas: generation, chat, translation, summaries, embeddings, classification.

    Checking a document imports this class, so what an engine needs is imported by `setup` and `run`.
    """

    type = "model"
    Config = ModelConfig
    Input = ModelInput
    _pool: Pool | None = None

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from check_component(config, action)

    @classmethod
    def check_placement(cls, config: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from check_placement(config, resources)

    @classmethod
    def offers(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[Offer]:
        yield from offers(config, action)

    @classmethod
    def spreads(cls, config: Mapping[str, Any]) -> bool:
        """Return whether vLLM places its workers itself, one to each GPU of the replica."""
        if config.get("driver") != "vllm":
            return False
        from deployments.engines.vllm.starting import spreads

        return spreads(config.get("options") or {})

    async def setup(self) -> None:
        """Load as many of the models as may be loaded at a time, so that a replica that is ready answers at once."""
        from deployments.engines.model_pool import Pool
        from graphs.requirements import check_requirements

        check_requirements(self.config.driver, lock="vllm" if self.config.driver == "vllm" else "serve")
        self._pool = Pool(self._start, self.config.max_models or len(self._names))
        await self._pool.preload(self._names)

    async def run(self, input: ModelInput) -> AsyncGenerator[Chunk]:
        """Yield the answer's chunks and a Note at their end, or one Whole."""
        from deployments.components.model.answers import answer, joined, refuse_misfits

        assert self._pool is not None
        text = await joined(input.text)
        refuse_misfits(self.config.task, input, text)
        async with (
            self._pool.use(self._named(input.model)) as engine,
            aclosing(answer(engine, self.config, input, text)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()

    async def healthy(self) -> None:
        assert self._pool is not None
        await self._pool.healthy()

    async def _start(self, name: str) -> Engine:
        """Return the engine of a model, loaded, by the driver that the component names."""
        config = self.config
        own_options = OWN_OPTIONS[config.driver]
        options = {key: value for key, value in config.options.items() if key not in own_options}
        if config.driver == "vllm":
            from deployments.engines.vllm.engine import VLLM

            return await VLLM.start(
                name, task=config.task, device=config.device, precision=config.precision, options=options
            )
        import asyncio  # checking a document starts faster without

        from deployments.engines.huggingface import loading

        own = {key: options.pop(key) for key in loading.OF_THE_ENGINE if key in options}
        loaded = await asyncio.to_thread(loading.load, name, config.task, config.device, config.precision, options)
        # Imported last: `load` says in a line what is missing where torch isn't installed.
        from deployments.engines.huggingface.engine import HuggingFace

        return HuggingFace(loaded, **own)

    @property
    def _names(self) -> list[str]:
        return [name for name in (self.config.models or [self.config.model]) if name is not None]

    def _named(self, wanted: str | None) -> str:
        """Return the component's name of the model that a call wants."""
        known = ", ".join(self._names)
        if wanted is None:
            if len(self._names) > 1:
                raise InvalidInput(
                    f"this component has several models; write `model:` with one of {known}", field="model"
                )
            return self._names[0]
        found = find_model(self._names, wanted)
        if found is None:
            raise InvalidInput(f"the component has no model {wanted!r}; it has {known}", field="model")
        return found
