"""How models write calls of tools, and which way one model does."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass

from graphs.errors import InvalidInput
from graphs.suggest import closest

ARGUMENTS = "[ARGS]"
"""Between a call's name and its arguments, where a style has both stand apart."""


@dataclass(frozen=True, slots=True)
class Style:
    """A call is `{"name": …, "arguments": {…}}` (or "parameters") between tags, or several in a list."""

    opens: tuple[str, ...] = ()
    closes: tuple[str, ...] = ()
    bare: bool = False
    """An answer may open with a call and no tag. Many tags are special tokens, which no decoded text shows."""
    named: bool = False
    """`name[ARGS]{…}` is a call too."""
    trusted: bool = False
    """A grammar has seen to it that the answer is calls, so that none needs a tag."""
    id_length: int | None = None
    """How long ids must be for the model's template to take them back; None for OpenAI's own."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Return all that marks a call, whether or not it is a special token of the model."""
        return (*self.opens, *self.closes, *((ARGUMENTS,) if self.named else ()))

    def new_id(self) -> str:
        if self.id_length is None:
            return f"call_{secrets.token_hex(12)}"
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(self.id_length))


HERMES = Style(opens=("<tool_call>",), closes=("</tool_call>",))
LLAMA = Style(opens=("<|python_tag|>",), bare=True)
MISTRAL = Style(opens=("[TOOL_CALLS]",), bare=True, named=True, id_length=9)
GRANITE = Style(opens=("<|tool_call|>", "<tool_call>"), bare=True)
PHI = Style(opens=("<|tool_call|>", "functools"), closes=("<|/tool_call|>",), bare=True)
ANY = Style(
    opens=("<tool_call>", "<|tool_call|>", "<|python_tag|>", "[TOOL_CALLS]"),
    closes=("</tool_call>", "<|/tool_call|>"),
    bare=True,
)
REQUIRED = Style(bare=True, trusted=True)
"""What the grammar of `tool_choice: required` lets a model write: a list of calls and nothing else."""

STYLES = {
    "hermes": HERMES, "llama3_json": LLAMA, "mistral": MISTRAL, "granite": GRANITE, "phi4_mini_json": PHI, "json": ANY,
}  # fmt: skip
"""By the names that vLLM's `--tool-call-parser` knows them by; `json` takes whatever tag comes."""

_SIGNS = (
    ("[TOOL_CALLS]", MISTRAL),
    ("<|python_tag|>", LLAMA),
    ("functools", PHI),
    ("<|tool_call|>", GRANITE),
    ("<tool_call>", HERMES),
    ('"parameters":', LLAMA),
)
"""What a chat template says that speaks of tools in this style; tags first, for any may describe a tool's parameters."""


def style_of(chat_template: str | None, chosen: str | None = None) -> Style:
    """Return the style that was chosen by name, else the one the chat template teaches, else the one that takes any."""
    if chosen is not None:
        if chosen not in STYLES:
            near = closest(chosen, STYLES)
            hint = f"; did you mean '{near}'?" if near else ""
            raise InvalidInput(
                f"expected a tool_parser, one of {', '.join(STYLES)}, got {chosen!r}{hint}", field="options.tool_parser"
            )
        return STYLES[chosen]
    template = chat_template or ""
    return next((style for sign, style in _SIGNS if sign in template), ANY)
