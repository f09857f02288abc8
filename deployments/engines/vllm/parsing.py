"""Answers of vLLM, told apart into content, reasoning and calls of tools by vLLM's own parsers."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deployments.engines.tool_calls.pieces import CallDelta, Piece, Thought
from deployments.engines.tool_calls.reading import Reading, reading_of
from deployments.engines.tool_calls.styles import DEEPSEEK, DEEPSEEK_SEPARATOR, HARMONY, STYLES
from deployments.engines.vllm.library import first_line
from graphs.errors import InvalidInput, Unavailable
from graphs.suggest import closest

logger = logging.getLogger("anabranch.model")

OPTIONS = ("tool_call_parser", "reasoning_parser")
"""What a document calls them, as vLLM's command line does; None of them is for its engine."""
BY_TEMPLATE = "hf"
"""vLLM's parser of response templates that models ship."""
NONE = "none"
"""What a document writes to leave reasoning, or calls, in the content."""

_REASONING = {
    "hermes": "qwen3", "qwen3_coder": "qwen3", "glm45": "glm45", "kimi_k2": "kimi_k2", "kimi_k3": "kimi_k3",
    "deepseek_v32": "deepseek_v3", "mistral": "mistral", "gemma4": "gemma4", "openai": "openai_gptoss",
}  # fmt: skip
"""vLLM's reasoning parsers, by the styles in which the same models write calls."""
_ANY_REASONING = "deepseek_r1"


@dataclass(frozen=True, slots=True)
class Names:
    """What vLLM calls its parsers of a model."""

    tools: str | None = None
    reasoning: str | None = None


def names_of(chat_template: str | None, options: Mapping[str, Any], *, ships_template: bool = False) -> Names:
    """Return what a document names, else what fits the model's family; None where vLLM has no parser for it."""
    reading = reading_of(chat_template, {})
    tools, reasoning = _tools(reading, chat_template or ""), _reasoning(reading)
    if ships_template and not any(options.get(name) for name in OPTIONS):
        tools = reasoning = BY_TEMPLATE
    said = {name: options.get(name) for name in OPTIONS}
    return Names(_said(said["tool_call_parser"], tools), _said(said["reasoning_parser"], reasoning))


def _said(name: str | None, otherwise: str | None) -> str | None:
    return None if name == NONE else name or otherwise


def _tools(reading: Reading, template: str) -> str | None:
    name = next(name for name, style in STYLES.items() if style is reading.style)
    if reading.style is DEEPSEEK and f"function{DEEPSEEK_SEPARATOR}" not in template:
        return "deepseek_v31"
    return None if name == "json" else name


def _reasoning(reading: Reading) -> str | None:
    if reading.thinking is None and reading.style is not HARMONY:
        return None
    name = next(name for name, style in STYLES.items() if style is reading.style)
    return _REASONING.get(name, _ANY_REASONING)


class Parsers:
    """vLLM's parsers of one model: its classes, checked against the model's tokenizer."""

    def __init__(self, parser: Any, tokenizer: Any, config: Any) -> None:
        self._parser = parser
        self._tokenizer = tokenizer
        self._config = config

    @classmethod
    def find(cls, model: str, tokenizer: Any, config: Any, names: Names, asked: Mapping[str, Any]) -> Parsers | None:
        """Return the parsers; None where vLLM has none for the model, whose answers are read by our own then.

        Those that a document names must fit. Those that were found by the model's family need not.
        """
        try:
            _check_names(asked)
            parser = _compose(model, tokenizer, config, names)
            if parser is None:
                return None
            found = cls(parser, tokenizer, config)
            found.reader(())  # what it needs of vLLM is missed now, not at the first answer
            return found
        except (ImportError, AttributeError) as error:
            raise Unavailable(
                f"model {model!r}: this vLLM differs from the versions that anabranch is made for: {first_line(error)}; "
                "install one of those that anabranch requires"
            ) from error
        except (TypeError, ValueError, RuntimeError) as error:
            if any(asked.get(name) for name in OPTIONS):
                raise InvalidInput(
                    f"model {model!r}: vLLM's parsers can't read its answers: {first_line(error)}; leave "
                    "tool_call_parser and reasoning_parser out",
                    field="options",
                ) from None
            logger.info(
                "%s: vLLM's parsers don't fit (%s); its answers are read without them", model, first_line(error)
            )
            return None

    def reader(
        self, tools: Sequence[Mapping[str, Any]], chat_template_kwargs: Mapping[str, Any] | None = None
    ) -> AnswerReader:
        """Return what reads one answer. Some parsers ask what the chat template was told: whether to think, say."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest  # pyright: ignore[reportMissingImports]

        told = [{"type": "function", **tool} for tool in tools]
        of_tools = {"tools": told, "tool_choice": "auto"} if told else {}
        try:
            request = ChatCompletionRequest(messages=[{"role": "user", "content": "-"}], **of_tools)
        except ValidationError as refusal:
            why = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in refusal.errors())
            raise InvalidInput(f"tools: vLLM refuses them: {why}", field="tools") from None
        said = dict(chat_template_kwargs or {})
        parser = self._parser(self._tokenizer, request.tools, model_config=self._config, chat_template_kwargs=said)
        return AnswerReader(parser, parser.adjust_request(request))


class AnswerReader:
    """One answer, read by vLLM's parser."""

    def __init__(self, parser: Any, request: Any) -> None:
        self._parser = parser
        self._request = request
        self._named: set[int] = set()

    @property
    def shows_special_tokens(self) -> bool:
        """Return whether the parser reads special tokens in the text."""
        return not self._request.skip_special_tokens

    def feed(self, text: str, ids: Sequence[int], prompt: Sequence[int], *, finished: bool) -> list[Piece]:
        """Return what the parser makes of more text and its tokens."""
        said = self._parser.parse_delta(
            text, list(ids), self._request, prompt_token_ids=list(prompt), finished=finished
        )
        pieces: list[Piece] = []
        if said is None:
            return pieces
        if said.reasoning:
            pieces.append(Thought(said.reasoning))
        if said.content:
            pieces.append(said.content)
        for call in said.tool_calls:
            pieces += self._call(call)
        return pieces

    def _call(self, call: Any) -> list[Piece]:
        pieces: list[Piece] = []
        function = call.function
        if function is None:
            return pieces
        if function.name and call.index not in self._named:
            self._named.add(call.index)
            pieces.append(CallDelta(call.index, call.id or f"call_{secrets.token_hex(12)}", function.name))
        if function.arguments:
            pieces.append(CallDelta(call.index, arguments=function.arguments))
        return pieces


def _compose(model: str, tokenizer: Any, config: Any, names: Names) -> Any | None:
    from vllm.parser.parser_manager import ParserManager  # pyright: ignore[reportMissingImports]

    return ParserManager.get_parser(
        tool_parser_name=names.tools,
        reasoning_parser_name=names.reasoning,
        enable_auto_tools=True,
        model_name=model,
        is_harmony=config.hf_config.model_type == "gpt_oss",
        tokenizer=tokenizer,
    )


def _check_names(asked: Mapping[str, Any]) -> None:
    """Refuse names of parsers that this vLLM doesn't have."""
    from vllm.reasoning import ReasoningParserManager  # pyright: ignore[reportMissingImports]
    from vllm.tool_parsers import ToolParserManager  # pyright: ignore[reportMissingImports]

    known: dict[str, list[str]] = {
        "tool_call_parser": list(ToolParserManager.list_registered()),
        "reasoning_parser": list(ReasoningParserManager.list_registered()),
    }
    for option, names in known.items():
        name = asked.get(option)
        if name and name != NONE and name not in names:
            near = closest(name, names)
            hint = f"did you mean '{near}'?" if near else f"it has {', '.join(sorted(names))}"
            raise InvalidInput(f"options: vLLM has no {option} {name!r}; {hint}", field=option)
