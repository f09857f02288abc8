"""A call's Input and the Engine of its model -> the answer: chunks as they come and a Note at the end, or one Whole."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from deployments.components.model.checks import AT_ONCE, CHAT, CHAT_ONLY, OWN_OPTIONS, check_action, task_of_call
from deployments.components.model.fields import ModelConfig, ModelInput
from deployments.engines.engine import Ask, Ended, Engine, LogProbs, Sampling, Usage, for_each
from deployments.engines.tool_calls.pieces import AnswerParser, CallDelta, Piece, Thought, join_calls
from graphs.component import Chunk, Note, Stream, Whole
from graphs.errors import ComponentFailed, InvalidInput

CUT = "the engine stopped without saying how the answer ended"


@dataclass(frozen=True, slots=True)
class _Talk:
    """One question, what tells reasoning and calls of tools in its answer apart, and whether chunks are OpenAI's deltas."""

    ask: Ask
    parser: AnswerParser | None = None
    as_message: bool = False


async def joined(text: Any) -> Any:
    """Return the text of an Input; a stream is read to its end."""
    if not isinstance(text, Stream):
        return text
    whole = await text.join()
    if not isinstance(whole, str):
        raise InvalidInput("expected a stream of text, got one of other values; map it to its text", field="text")
    return whole


def refuse_misfits(task: str, input: ModelInput, text: Any) -> None:
    """Refuse fields that don't fit together; the checker could not know as long as they were bindings."""
    action = {name: getattr(input, name) for name in input.model_fields_set}
    action |= {"text": text, "params": input.params.model_dump()}
    called = task_of_call(task, text=text is not None, messages=input.messages is not None)
    if task == CHAT != called:
        # The document said these of its conversations; a text that is continued as it is has none.
        action = {name: value for name, value in action.items() if name not in CHAT_ONLY}
    for field, message in check_action(called, action):
        raise InvalidInput(message, field=field)


async def answer(engine: Engine, config: ModelConfig, input: ModelInput, text: Any) -> AsyncGenerator[Chunk]:
    """Yield the answer; `text` is the Input's, joined."""
    if input.answer == "count":
        yield await _counted(engine, input, text)
    elif config.task in AT_ONCE:
        yield await _pooled(engine, input, text)
    elif isinstance(text, list):
        yield await _wholes(engine, _ask(input, None), text, input.batch_size)
    else:
        talk = await make_talk(engine, config, input, text)
        if not input.streaming:
            yield await _whole(engine, talk)
            return
        async with aclosing(_stream(engine, talk)) as chunks:
            async for chunk in chunks:
                yield chunk


async def make_talk(engine: Engine, config: ModelConfig, input: ModelInput, text: str | None) -> _Talk:
    """Return what to ask the engine, and how to read its answer; refuse tools and formats that can't be enforced."""
    if input.messages is None:
        return _Talk(_ask(input, text))
    from deployments.engines.grammar.guides import JUDGE, schema_of
    from deployments.engines.tool_calls.choice import tool_use
    from deployments.engines.tool_calls.reading import reading_of

    use = tool_use(input.tools, input.tool_choice)
    schema = use.schema
    if schema is None:
        schema = schema_of(input.response_format)
        if schema:
            await JUDGE.compile(schema)
    else:
        await use.judge()
    options = {name: config.options.get(name) for name in OWN_OPTIONS[config.driver]}
    reading, enforced = reading_of(engine.chat_template, options, engine.response_template), schema is not None
    # An engine's own parsers read what the model is free to write, unless the document names one of ours.
    parse = engine.parses and not enforced and options["tool_parser"] is None
    parser = None if parse else reading.parser(use, enforced=enforced)
    chat = {
        **_conversation(input, use.tools),
        "tags": () if parse else reading.tags(use, enforced=enforced),
        "begin": None if parser is None else parser.begin,
        "parse": parse,
    }
    ask = _ask(input, None, json_schema=schema, **chat)
    return _Talk(ask, parser, as_message=input.answer == "message")


async def _counted(engine: Engine, input: ModelInput, text: str | list[str] | None) -> Whole:
    """Return the number of tokens of the prompt; of all prompts, where there are several texts."""
    if input.messages is None:
        asks = [_ask(input, each) for each in (text if isinstance(text, list) else [text])]
    else:
        from deployments.engines.tool_calls.choice import tool_use

        asks = [_ask(input, None, **_conversation(input, tool_use(input.tools, input.tool_choice).tools))]
    return Whole({"input_tokens": sum([await engine.count(ask) for ask in asks])})


async def _pooled(engine: Engine, input: ModelInput, text: str | list[str]) -> Whole:
    """Return the vectors or labels of a text, or of a list of texts."""
    pooled = await engine.pool(text if isinstance(text, list) else [text], input.batch_size, input.max_input_length)
    return Whole(pooled.values if isinstance(text, list) else pooled.values[0], {"usage": _usage(pooled.usage)})


async def _stream(engine: Engine, talk: _Talk) -> AsyncGenerator[Chunk]:
    """Yield the answer as it is generated, then a Note of the usage and of how it ended."""
    if talk.parser is None and not talk.ask.parse and not talk.as_message and talk.ask.logprobs is None:
        # The usual way, one generator shorter: each token passes here.
        async with aclosing(engine.generate(talk.ask)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Ended):
                    yield Note(_notes(piece))
                    return
                yield piece
        raise ComponentFailed(CUT)
    async for piece in _read(engine, talk):
        chunk = _chunk(piece, talk)
        if chunk is not None:
            yield chunk


def _chunk(piece: Piece | LogProbs | Ended, talk: _Talk) -> Chunk | None:
    """Return what a reader of the stream gets of a piece: a text tells nothing of the reasoning."""
    match piece:
        case Ended():
            return Note(_notes(piece))
        case LogProbs(entries):
            return Note({"logprobs": entries})
        case CallDelta():
            delta = {"tool_calls": [piece.to_openai()]}
            return delta if talk.as_message else Note(delta)
        case Thought(text):
            return {"reasoning_content": text} if talk.as_message else None
        case "":
            return None
        case _:
            return {"content": piece} if talk.as_message else piece


async def _whole(engine: Engine, talk: _Talk) -> Whole:
    """Return the answer once it is complete."""
    texts: list[str] = []
    thoughts: list[str] = []
    deltas: list[CallDelta] = []
    scores: list[dict[str, Any]] = []
    notes: dict[str, Any] = {}
    async for piece in _read(engine, talk):
        match piece:
            case str():
                texts.append(piece)
            case Thought():
                thoughts.append(piece.text)
            case CallDelta():
                deltas.append(piece)
            case LogProbs():
                scores += piece.entries
            case Ended():
                notes = _notes(piece)
    scored = {} if talk.ask.logprobs is None else {"logprobs": scores}
    text, called = "".join(texts), {"tool_calls": join_calls(deltas)} if deltas else {}
    if talk.as_message:
        thought = {"reasoning_content": "".join(thoughts)} if thoughts else {}
        content = text or None if called else text
        return Whole({"role": "assistant", **thought, "content": content, **called, **notes}, {**scored, **notes})
    return Whole(text, {**called, **scored, **notes})


async def _wholes(engine: Engine, ask: Ask, texts: Sequence[str], at_once: int) -> Whole:
    """Return the answers to several texts, in their order; `at_once` of them are generated at a time."""

    async def one(text: str) -> tuple[str, Ended]:
        pieces = [piece async for piece in _read(engine, _Talk(replace(ask, text=text)))]
        ended = pieces.pop()
        assert isinstance(ended, Ended)
        return "".join(map(str, pieces)), ended

    answers = await for_each(texts, one, at_once)
    usages = [ended.usage for _, ended in answers]
    usage = Usage(sum(each.prompt_tokens for each in usages), sum(each.completion_tokens for each in usages))
    notes = {"usage": _usage(usage), "finish_reason": [ended.finish for _, ended in answers]}
    return Whole([text for text, _ in answers], notes)


async def _read(engine: Engine, talk: _Talk) -> AsyncGenerator[Piece | LogProbs | Ended]:
    """Yield what is generated, with reasoning and calls of tools told apart from content, and at last how it ended."""
    parser, called = talk.parser, False
    async with aclosing(engine.generate(talk.ask)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Ended):
                for rest in parser.end() if parser else ():
                    called = called or isinstance(rest, CallDelta)
                    yield rest
                yield replace(piece, finish="tool_calls") if called and piece.finish == "stop" else piece
                return
            for part in parser.feed(piece) if parser is not None and isinstance(piece, str) else (piece,):
                called = called or isinstance(part, CallDelta)
                yield part
    raise ComponentFailed(CUT)


def _conversation(input: ModelInput, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the chat template reads, as an Ask has it."""
    messages = [message.model_dump(exclude_none=True) for message in input.messages or ()]
    return {"messages": messages, "tools": tools, "chat_template_kwargs": input.chat_template_kwargs or {}}


def _ask(input: ModelInput, text: str | None, **chat: Any) -> Ask:
    params = input.params.model_dump(exclude={"stop"})
    stop = tuple(dict.fromkeys(each for each in (*(input.stop or ()), *(input.params.stop or ())) if each))
    # As many tokens as the model's context has room for.
    most = sys.maxsize if input.truncation == "auto" and text is None else None
    return Ask(
        text=text,
        sampling=Sampling(**params, stop=stop),
        max_input_length=input.max_input_length or most,
        logprobs=input.logprobs,
        streaming=input.streaming,
        **chat,
    )


def _usage(usage: Usage) -> dict[str, int]:
    """Return the counts as OpenAI writes them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _notes(ended: Ended) -> dict[str, Any]:
    stopped = {} if ended.stop_sequence is None else {"stop_sequence": ended.stop_sequence}
    return {"usage": _usage(ended.usage), "finish_reason": ended.finish, **stopped}
