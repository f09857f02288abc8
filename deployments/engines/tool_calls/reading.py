"""How the answers of one model are read: its reasoning, and its calls of tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.engines.tool_calls import reasoning
from deployments.engines.tool_calls.choice import ToolUse
from deployments.engines.tool_calls.pieces import AnswerParser, ResponseTemplate
from deployments.engines.tool_calls.reasoning import THINK, THINKING, ReasoningParser, Thinking
from deployments.engines.tool_calls.styles import GEMMA, HARMONY, KIMI_3, MISTRAL, QWEN_XML, Style, style_of
from graphs.errors import InvalidInput
from graphs.suggest import closest

_OF_STYLES = (
    (HARMONY, None), (GEMMA, reasoning.GEMMA), (KIMI_3, reasoning.KIMI_3), (QWEN_XML, reasoning.QWEN_XML),
)  # fmt: skip
"""Where calls and reasoning are marked by the same hand; harmony's channels are read with its calls."""


@dataclass(frozen=True, slots=True)
class Reading:
    style: Style
    thinking: Thinking | None
    template: ResponseTemplate | None = None
    """What the model ships for it, which counts where a document doesn't say otherwise."""

    def tags(self, use: ToolUse, *, enforced: bool = False) -> tuple[str, ...]:
        """Return what marks calls and reasoning. An answer that a grammar holds to a schema has no marks."""
        if enforced:
            return ()
        if self.template is not None:
            return tuple(self.template.tags)
        return (*use.tags(self.style), *(self.thinking.tags if self.thinking else ()))

    def parser(self, use: ToolUse, *, enforced: bool = False) -> AnswerParser | None:
        """Return what reads one answer; None when all of it is content."""
        if enforced and use.schema is None:
            return None
        if self.template is not None and not enforced:
            # Imported late: vLLM's environment may have another transformers.
            from deployments.engines.tool_calls.response_template import TemplateParser

            return TemplateParser(self.template.spec, use.tools, self.style.new_id)
        parser = use.parser(self.style)
        return parser if enforced or self.thinking is None else ReasoningParser(self.thinking, parser)


def reading_of(
    chat_template: str | None, options: Mapping[str, Any], template: ResponseTemplate | None = None
) -> Reading:
    """Return what a document's options say, else what the model ships, else what its chat template teaches."""
    style = style_of(chat_template, options.get("tool_parser"))
    thinking = thinking_of(chat_template, style, options.get("reasoning_parser"))
    said = any(options.get(name) is not None for name in ("tool_parser", "reasoning_parser"))
    return Reading(style, thinking, None if said else template)


def thinking_of(chat_template: str | None, style: Style, chosen: str | None = None) -> Thinking | None:
    """Return how the model marks its reasoning; None where it has none, or all of it is read with its calls."""
    if chosen is not None:
        if chosen not in THINKING:
            near = closest(chosen, THINKING)
            hint = f"; did you mean '{near}'?" if near else ""
            raise InvalidInput(
                f"expected a reasoning_parser, one of {', '.join(THINKING)}, got {chosen!r}{hint}",
                field="options.reasoning_parser",
            )
        return THINKING[chosen]
    for each, thinking in _OF_STYLES:
        if style is each:
            return thinking
    template = chat_template or ""
    if style is MISTRAL and ("[THINK]" in template or "<think>" in template):
        return reasoning.MISTRAL
    return THINK if "think>" in template else None
