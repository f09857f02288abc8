"""The Engine over vLLM's AsyncLLM, which batches by itself, in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from deployments.engines import prompts
from deployments.engines.conversations import template_of
from deployments.engines.detokenizing import Without
from deployments.engines.engine import Ask, Ended, Engine, Finish, LogProbs, Pooled, Usage, for_each
from deployments.engines.grammar.guides import KEYWORD, require_keyword
from deployments.engines.huggingface.embedding import ranked
from deployments.engines.prompts import Prompt
from deployments.engines.settings import Space, settle
from deployments.engines.token_scores import TokenScore, TokenTexts
from deployments.engines.tokenizers import shipped_template, special_tokens
from deployments.engines.tool_calls.pieces import Piece
from deployments.engines.vllm.library import in_words
from deployments.engines.vllm.parsing import OPTIONS as PARSERS
from deployments.engines.vllm.parsing import Parsers, names_of
from deployments.engines.vllm.starting import POOLING, find, start
from graphs.errors import ComponentFailed, InvalidInput, Unavailable

LARGEST_SEED = 2**63 - 1
"""What torch and the wire between vLLM's processes both take."""


class VLLM(Engine):
    """A model in vLLM."""

    def __init__(
        self, name: str, task: str, llm: Any, longest: int | None = None, parsers: Mapping[str, Any] | None = None
    ) -> None:
        self._name = name
        self._task = task
        self._llm = llm
        self._tokenizer = llm.get_tokenizer()
        self._texts = TokenTexts(self._tokenizer)
        self._special = frozenset(special_tokens(self._tokenizer).values())
        self._config = llm.model_config.hf_config
        self._context: int = llm.model_config.max_model_len
        self._own = _generation_config(llm.model_config)
        self._longest = longest
        self._running: set[str] = set()
        self._parsers = self._find_parsers(parsers or {}) if task == "chat-completion" else None

    @classmethod
    async def start(
        cls, name: str, *, task: str, device: str | None = None, precision: str = "auto", options: Mapping[str, Any]
    ) -> VLLM:
        """Return the engine, its weights loaded; refusals are one line that names the model."""
        parsers = {key: value for key, value in options.items() if key in PARSERS}
        options = {key: value for key, value in options.items() if key not in PARSERS}
        found = await asyncio.to_thread(find, name, task, device, precision, options)
        llm = await asyncio.to_thread(start, found)
        try:
            return cls(name, task, llm, found.longest, parsers)
        except BaseException:
            await asyncio.to_thread(llm.shutdown)
            raise

    @property
    def chat_template(self) -> str | None:
        return template_of(self._tokenizer)

    @property
    def parses(self) -> bool:
        return self._parsers is not None

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece | LogProbs | Ended, None]:
        from vllm.inputs import tokens_input  # pyright: ignore[reportMissingImports]

        prompt = await prompts.prepare(
            ask, self._tokenizer, self._config, self._task, self._context, ask.sampling.needed
        )
        finish: str | None = None
        stop: int | str | None = None
        generated = 0
        reader = None
        if ask.parse and self._parsers is not None:
            reader = self._parsers.reader(ask.tools, ask.chat_template_kwargs)
        # vLLM shows all special tokens or none.
        tagged = not self._special.isdisjoint(ask.tags) if reader is None else reader.shows_special_tokens
        hidden = Without(self._special.difference(ask.tags) if tagged and reader is None else ())
        id = uuid4().hex
        self._running.add(id)
        try:
            with in_words(self._name):
                params = _sampling_params(
                    ask, self._own, prompt, self._context, tagged=tagged, in_pieces=ask.streaming or reader is not None
                )
                # Closing it aborts the request.
                async with aclosing(self._llm.generate(tokens_input(prompt.ids), params, id)) as outputs:
                    async for output in outputs:
                        piece = output.outputs[0]
                        generated += len(piece.token_ids)
                        finish, stop = piece.finish_reason, piece.stop_reason
                        if ask.logprobs is not None and piece.token_ids:
                            yield LogProbs(self._texts.entries(_scores(piece, ask.logprobs)))
                        if reader is not None:
                            over = output.finished
                            for part in reader.feed(piece.text, piece.token_ids, prompt.ids, finished=over):
                                yield part
                        elif text := hidden.feed(piece.text):
                            yield text
        finally:
            self._running.discard(id)
        if rest := hidden.end():
            yield rest
        # vLLM gives the number of a token that ends answers here, too.
        stop_sequence = stop if isinstance(stop, str) else None
        yield Ended(self._finish(finish), Usage(len(prompt.ids), generated), stop_sequence)

    async def count(self, ask: Ask) -> int:
        output = ask.sampling.needed
        return await prompts.count(ask, self._tokenizer, self._config, self._task, self._context, output)

    async def pool(self, texts: Sequence[str], batch_size: int, max_input_length: int | None) -> Pooled:
        from vllm.inputs import tokens_input  # pyright: ignore[reportMissingImports]
        from vllm.pooling_params import PoolingParams  # pyright: ignore[reportMissingImports]

        async def one(ids: list[int]) -> Any:
            params = PoolingParams(task=POOLING[self._task])
            with in_words(self._name):
                async with aclosing(self._llm.encode(tokens_input(ids), params, uuid4().hex)) as outputs:
                    return (await anext(outputs)).outputs.data.float().tolist()

        cut = min(filter(None, (max_input_length, self._longest)), default=None)
        asks = [Ask(text=text, max_input_length=cut) for text in texts]
        read = [await prompts.prepare(ask, self._tokenizer, self._config, self._task, self._context, 0) for ask in asks]
        found = await for_each([prompt.ids for prompt in read], one, batch_size)
        if self._task == "text-classification":
            found = [ranked(scores, self._config.id2label) for scores in found]
        return Pooled(found, Usage(prompt_tokens=sum(len(prompt.ids) for prompt in read)))

    async def healthy(self) -> None:
        with in_words(self._name):
            await self._llm.check_health()

    async def aclose(self) -> None:
        # A shut down vLLM tells its readers nothing; aborting them first does.
        await self._llm.abort(list(self._running))
        await asyncio.to_thread(self._llm.shutdown)

    def _find_parsers(self, asked: Mapping[str, Any]) -> Parsers | None:
        ships = shipped_template(self._tokenizer) is not None
        for template in (True, False) if ships else (False,):
            names = names_of(self.chat_template, asked, ships_template=template)
            found = Parsers.find(self._name, self._tokenizer, self._llm.model_config, names, asked)
            if found is not None:
                return found
        return None

    def _finish(self, reason: str | None) -> Finish:
        match reason:
            case "stop" | "repetition":
                return "stop"
            case "length":
                return "length"
            case "abort":
                raise Unavailable(f"model {self._name!r}: its engine was stopped before the answer was complete")
            case _:
                raise ComponentFailed(f"model {self._name!r}: generation ended with '{reason}'; ask again")


def _scores(piece: Any, most: int) -> Iterator[TokenScore]:
    """Read vLLM's log-probabilities: of each token those of the likeliest, by rank, and its own, which may be one of them."""
    for token, of_tokens in zip(piece.token_ids, piece.logprobs, strict=True):
        ranked_ones = sorted((each.rank, id, each.logprob) for id, each in of_tokens.items())
        likeliest = [(id, logprob) for _, id, logprob in ranked_ones[:most]]
        yield TokenScore(token, of_tokens[token].logprob, likeliest)


def _generation_config(config: Any) -> Any:
    """Return the model's generation_config.json with what `options` override of it, as transformers reads it."""
    from transformers import GenerationConfig

    own = {} if config.generation_config == "vllm" else config.try_get_generation_config()
    return GenerationConfig(**{**own, **config.override_generation_config})


def _sampling_params(ask: Ask, own: Any, prompt: Prompt, context: int, *, tagged: bool, in_pieces: bool) -> Any:
    """Return how vLLM should generate; `own` is the model's GenerationConfig, `tagged` shows special tokens."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams  # pyright: ignore[reportMissingImports]

    asked = ask.sampling.num_beams
    if asked is not None and asked > 1:
        raise InvalidInput(
            f"expected num_beams 1, because vLLM has no beam search, got {asked}; leave it out, or write `driver: huggingface`",
            field="params.num_beams",
        )
    structure = None
    if ask.json_schema is not None:
        require_keyword()
        structure = StructuredOutputsParams(json={**(ask.json_schema or {"type": "object"}), **KEYWORD})
    space = Space(len(prompt.ids), context - len(prompt.ids))
    settings = settle(ask.sampling, own, space, stops=prompt.stop, constrained=structure is not None)
    return SamplingParams(
        max_tokens=settings.most,
        min_tokens=settings.least,
        temperature=settings.draw.temperature,
        top_k=settings.draw.top_k,
        top_p=settings.draw.top_p,
        min_p=own.min_p or 0.0,
        repetition_penalty=settings.repetition_penalty,
        seed=None if settings.seed is None else settings.seed & LARGEST_SEED,
        stop=list(settings.stops),
        structured_outputs=structure,
        logprobs=ask.logprobs,
        output_kind=RequestOutputKind.DELTA if in_pieces else RequestOutputKind.FINAL_ONLY,
        skip_special_tokens=not tagged,
    )
