"""Text or messages go to a language model; what it generates comes back, token by token or whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deployments.components.model.checks import check_component, check_placement
from deployments.components.model.fields import ModelConfig, ModelInput
from graphs.component import Chunk, Component

if TYPE_CHECKING:
    from deployments.components.model.host import Host


class Model(Component[ModelConfig, ModelInput]):
    """Runs a language model in its replicas: generation, chat, translation, summaries, embeddings, classification."""

    type = "model"
    Config = ModelConfig
    Input = ModelInput
    _host: Host | None = None

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from check_component(config, action)

    @classmethod
    def check_placement(cls, config: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from check_placement(config, resources)

    @classmethod
    def spreads(cls, config: Mapping[str, Any]) -> bool:
        """Tell whether vLLM places its workers itself, one to each GPU of the replica."""
        if config.get("driver") != "vllm":
            return False
        from deployments.engines.vllm.starting import spreads

        return spreads(config.get("options") or {})

    async def setup(self) -> None:
        # Everything beyond the fields waits for the replica.
        from deployments.components.model.host import Host

        self._host = Host(self.config)
        await self._host.load()

    def run(self, input: ModelInput) -> AsyncIterator[Chunk]:
        assert self._host is not None
        return self._host.answer(input)

    async def close(self) -> None:
        if self._host is not None:
            await self._host.aclose()

    async def healthy(self) -> None:
        assert self._host is not None
        await self._host.healthy()
