"""The models of one replica: a call's Input in, what its model generates out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from deployments.components.model.answers import Talk, stream, usage_of, whole, wholes
from deployments.components.model.checks import AT_ONCE, OWN_OPTIONS, check_action, find_model
from deployments.components.model.fields import ModelConfig, ModelInput
from deployments.engines.engine import Ask, Engine, Sampling
from deployments.engines.model_pool import Pool
from graphs.component import Chunk, Stream, Whole
from graphs.errors import InvalidInput


class Host:
    """Loads them, and answers by the one that a call names."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._names = [name for name in (config.models or [config.model]) if name is not None]
        self._pool = Pool(self._start, config.max_models or len(self._names))

    async def load(self) -> None:
        """Load as many as may be loaded at a time, so that a replica that is ready answers at once."""
        await self._pool.preload(self._names)

    async def answer(self, input: ModelInput) -> AsyncGenerator[Chunk]:
        """Yield the answer's chunks and a Note at their end, or one Whole."""
        text = await _joined(input.text) if isinstance(input.text, Stream) else input.text
        self._refuse_misfits(input, text)
        async with self._pool.use(self._model(input.model)) as engine:
            if not input.streaming:
                yield await self._whole(engine, input, text)
                return
            talk = await self._talk(engine, input, text)
            async with aclosing(stream(engine, talk)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def healthy(self) -> None:
        """Raise when a loaded model can't answer any more."""
        await self._pool.healthy()

    async def aclose(self) -> None:
        """Let go of all of them."""
        await self._pool.aclose()

    async def _whole(self, engine: Engine, input: ModelInput, text: Any) -> Whole:
        if self._config.task in AT_ONCE:
            return await self._pooled(engine, input, text)
        if isinstance(text, list):
            return await wholes(engine, _ask(input, None), text, input.batch_size)
        return await whole(engine, await self._talk(engine, input, text))

    async def _pooled(self, engine: Engine, input: ModelInput, text: Any) -> Whole:
        pool = engine.embed if self._config.task == "text-embedding" else engine.classify
        texts: list[str] = text if isinstance(text, list) else [text]
        pooled = await pool(texts, input.batch_size, input.max_input_length)
        return Whole(
            pooled.values if isinstance(text, list) else pooled.values[0], {"usage": usage_of(pooled.usage)}
        )  # fmt: skip

    async def _talk(self, engine: Engine, input: ModelInput, text: str | None) -> Talk:
        if input.messages is None:
            return Talk(_ask(input, text))
        from deployments.engines.grammar import judge, schema_of
        from deployments.engines.tool_calls import style_of, tool_use

        use = tool_use(input.tools, input.tool_choice)
        schema = use.schema
        if schema is None:
            schema = schema_of(input.response_format)
            await judge(schema)
        else:
            await use.judge()
        style = style_of(engine.chat_template, self._config.options.get("tool_parser"))
        messages = [message.model_dump(exclude_none=True) for message in input.messages]
        ask = _ask(input, None, messages=messages, tools=use.tools, tags=use.tags(style), json_schema=schema)
        return Talk(ask, use.parser(style), as_message=input.answer == "message")

    def _refuse_misfits(self, input: ModelInput, text: Any) -> None:
        """Refuse what could not be known to be wrong as long as it was a binding."""
        action = {name: getattr(input, name) for name in input.model_fields_set}
        action |= {"text": text, "params": input.params.model_dump()}
        for field, message in check_action(self._config.task, action):
            raise InvalidInput(message, field=field)

    def _model(self, wanted: str | None) -> str:
        if wanted is None and len(self._names) == 1:
            return self._names[0]
        if wanted is None:
            raise InvalidInput(f"which model? write one of {', '.join(self._names)}", field="model")
        found = find_model(self._names, wanted)
        if found is None:
            raise InvalidInput(
                f"the component has no model {wanted!r}; it has {', '.join(self._names)}", field="model"
            )  # fmt: skip
        return found

    async def _start(self, name: str) -> Engine:
        config = self._config
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


async def _joined(stream: Stream) -> str:
    text = await stream.join()
    if not isinstance(text, str):
        raise InvalidInput("expected a stream of text, got one of other values; map it to its text", field="text")
    return text


def _ask(input: ModelInput, text: str | None, **chat: Any) -> Ask:
    params = input.params.model_dump(exclude={"stop"})
    stop = tuple(dict.fromkeys(each for each in (*(input.stop or ()), *(input.params.stop or ())) if each))
    return Ask(
        text=text,
        sampling=Sampling(**params, stop=stop),
        max_input_length=input.max_input_length,
        streaming=input.streaming,
        **chat,
    )
