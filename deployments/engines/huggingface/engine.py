"""A model that transformers has loaded: an Ask in, text as it is generated out; or texts in, vectors or labels out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TypeVar

import torch

from deployments.engines import prompts
from deployments.engines.conversations import template_of
from deployments.engines.detokenizing import Detokenizers
from deployments.engines.devices import affordable
from deployments.engines.engine import Ask, Ended, Engine, LogProbs, Pooled
from deployments.engines.grammar.guides import Grammars
from deployments.engines.huggingface import embedding
from deployments.engines.huggingface import torch_failures as failures
from deployments.engines.huggingface.loading import Loaded
from deployments.engines.huggingface.loop import Batcher
from deployments.engines.huggingface.network import network
from deployments.engines.huggingface.rows import Row, Shaper
from deployments.engines.huggingface.text_outlet import TextOutlet
from deployments.engines.settings import Space, ending, settle
from deployments.engines.token_scores import TokenTexts
from deployments.engines.tokenizers import shipped_template
from deployments.engines.tool_calls.pieces import ResponseTemplate
from graphs.errors import AnabranchError, ComponentFailed

MAX_BATCH_SIZE = 64
"""Requests that share a step; others wait in a queue."""

T = TypeVar("T")


class HuggingFace(Engine):
    """Its threads start with the first request and end with `aclose`."""

    def __init__(
        self, loaded: Loaded, *, max_batch_size: int = MAX_BATCH_SIZE, max_cache_tokens: int | None = None
    ) -> None:
        self._loaded = loaded
        self._reader = ThreadPoolExecutor(1, thread_name_prefix=f"engine {loaded.name}")
        self._fault: AnabranchError | None = None
        """The error of a device that has failed, which stays failed: no more vectors or labels can be computed."""
        self._generates = loaded.kind in ("decoder", "encoder-decoder")
        if not self._generates:
            return
        self._network = network(loaded.model, loaded.tokenizer, loaded.device)
        self._shaper = Shaper(self._network)
        self._ends = ending(self._network.own, loaded.tokenizer)
        self._detokenizers = Detokenizers(loaded.tokenizer)
        self._texts = TokenTexts(loaded.tokenizer)
        self._grammars = Grammars(loaded.tokenizer, sorted(self._ends))
        most = max_cache_tokens or affordable(loaded.token_bytes, self._network.device)
        self._batcher = Batcher(self._network, loaded.name, max_batch_size, most)

    @property
    def chat_template(self) -> str | None:
        return template_of(self._loaded.tokenizer)

    @property
    def response_template(self) -> ResponseTemplate | None:
        spec = shipped_template(self._loaded.tokenizer)
        return None if spec is None else ResponseTemplate(spec, self._detokenizers.special)

    async def generate(self, ask: Ask) -> AsyncGenerator[str | LogProbs | Ended, None]:
        if not self._generates:
            raise ComponentFailed(f"the model {self._loaded.name} was loaded for {self._loaded.task}, not to generate")
        row = await self._row(ask)
        self._batcher.submit(row)
        try:
            async with aclosing(row.outlet.read()) as pieces:
                async for piece in pieces:
                    yield LogProbs(self._texts.entries(piece)) if isinstance(piece, list) else piece
        finally:
            self._batcher.cancel(row)

    async def count(self, ask: Ask) -> int:
        loaded, output = self._loaded, ask.sampling.needed
        return await prompts.count(ask, loaded.tokenizer, loaded.config, loaded.task, loaded.context, output)

    async def pool(self, texts: Sequence[str], batch_size: int, max_input_length: int | None) -> Pooled:
        pool = embedding.embed if self._loaded.kind == "embedding" else embedding.classify
        return await pool(self._loaded, texts, batch_size, max_input_length, self._call)

    async def healthy(self) -> None:
        if self._generates and self._batcher.fault is not None:
            raise self._batcher.gone()
        if self._fault is not None:
            raise self._fault

    async def aclose(self) -> None:
        await asyncio.to_thread(self._reader.shutdown)
        if self._generates:
            await asyncio.to_thread(self._batcher.close)

    async def _row(self, ask: Ask) -> Row:
        """Return the request as a row for the loop. Requests that can't be served are refused here."""
        loaded, network = self._loaded, self._network
        prompt = await prompts.prepare(
            ask, loaded.tokenizer, loaded.config, loaded.task, loaded.context, ask.sampling.needed
        )
        constraint = None if ask.json_schema is None else await self._grammars.compile(ask.json_schema)
        settings = settle(
            ask.sampling,
            network.own,
            self._space(len(prompt.ids)),
            ends=self._ends,
            stops=prompt.stop,
            streaming=ask.streaming,
            constrained=constraint is not None,
            scored=ask.logprobs is not None,
        )
        return Row(
            prompt.ids,
            settings,
            detokenizer=self._detokenizers.make(ask.tags),
            outlet=TextOutlet(asyncio.get_running_loop(), self._batcher.stir),
            shape=self._shaper.shape(settings, prompt.ids, constraint is not None),
            constraint=constraint,
            logprobs=ask.logprobs,
            streaming=ask.streaming,
        )

    def _space(self, prompt: int) -> Space:
        if self._network.encodes:
            # The decoder has positions of its own and begins with its start token.
            positions = prompts.answer_length(self._loaded.config)
            return Space(1, positions and positions - 1)
        context = self._loaded.context
        return Space(prompt, context and context - prompt)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            # As a decorator: the mode belongs to the thread that does the work.
            return await asyncio.get_running_loop().run_in_executor(self._reader, torch.inference_mode()(work))
        except Exception as error:
            told = failures.public_error(error, self._loaded.name)
            if failures.fatal(error):
                self._fault = told
            raise told from error
