"""How models write calls of tools, and which way one model does."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import Literal

from graphs.errors import InvalidInput
from graphs.suggest import closest

ARGUMENTS, CALL_ID = "[ARGS]", "[CALL_ID]"
"""Between a call's name, its id and its arguments, as Mistral writes them."""
KIMI_ARGUMENTS = "<|tool_call_argument_begin|>"
BAR = "\uff5c"
"""The wide bar of DeepSeek's tags."""
DEEPSEEK_SEPARATOR = f"<{BAR}tool▁sep{BAR}>"
FENCE = "```"
DSML = f"{BAR}DSML{BAR}"

Notation = Literal["json", "python", "qwen", "glm", "dsml", "kimi", "gemma", "harmony"]
Head = Literal["mistral", "kimi", "deepseek"]


@dataclass(frozen=True, slots=True)
class Style:
    """How a model writes calls of tools, and what marks them."""

    opens: tuple[str, ...] = ()
    closes: tuple[str, ...] = ()
    notation: Notation = "json"
    head: Head | None = None
    """How a name stands before arguments in JSON; None where it is a key of the same JSON."""
    drops: tuple[str, ...] = ()
    """What stands around calls, or around content, and says nothing."""
    inside: tuple[str, ...] = ()
    """Opening tags that are part of the call themselves."""
    bare: bool = False
    """An answer may open with a call and no tag. Many tags are special tokens, which no decoded text shows."""
    trusted: bool = False
    """A grammar has seen to it that the answer is calls, so that none needs a tag."""
    others: tuple[str, ...] = ()
    """Further special tokens that the style reads."""
    wraps: bool = False
    """Marks stand around all that the model says, calls or none."""
    id_length: int | None = None
    """How long ids must be for the model's template to take them back; None for OpenAI's own."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Return what ends content."""
        return (*self.opens, *self.drops)

    @property
    def tags(self) -> tuple[str, ...]:
        """Return all that marks a call, whether or not it is a special token of the model."""
        return (*self.opens, *self.closes, *self.drops, *self.others)

    def new_id(self) -> str:
        if self.id_length is None:
            return f"call_{secrets.token_hex(12)}"
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(self.id_length))


HERMES = Style(opens=("<tool_call>",), closes=("</tool_call>",))
LLAMA = Style(opens=("<|python_tag|>",), bare=True)
LLAMA_4 = Style(opens=("<|python_start|>", "<|python_tag|>"), closes=("<|python_end|>",), notation="python", bare=True)
MISTRAL = Style(opens=("[TOOL_CALLS]",), head="mistral", bare=True, others=(ARGUMENTS, CALL_ID), id_length=9)
GRANITE = Style(opens=("<|tool_call|>", "<tool_call>"), bare=True)
PHI = Style(opens=("<|tool_call|>", "functools"), closes=("<|/tool_call|>",), bare=True)
QWEN_XML = Style(opens=("<tool_call>", "<function="), inside=("<function=",), closes=("</tool_call>",), notation="qwen")
GLM = Style(opens=("<tool_call>",), closes=("</tool_call>",), notation="glm")
KIMI = Style(
    opens=("<|tool_call_begin|>",),
    closes=("<|tool_call_end|>",),
    head="kimi",
    drops=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    others=(KIMI_ARGUMENTS,),
)
KIMI_3 = Style(
    opens=("<|open|>call",),
    inside=("<|open|>call",),
    closes=("<|close|>call<|sep|>",),
    notation="kimi",
    drops=tuple(
        f"<|{side}|>{part}<|sep|>" for part in ("response", "tools", "message", "think") for side in ("open", "close")
    ),
    others=("<|open|>", "<|close|>", "<|sep|>"),
    wraps=True,
)
DEEPSEEK = Style(
    opens=(f"<{BAR}tool▁call▁begin{BAR}>",),
    closes=(f"<{BAR}tool▁call▁end{BAR}>",),
    head="deepseek",
    drops=(f"<{BAR}tool▁calls▁begin{BAR}>", f"<{BAR}tool▁calls▁end{BAR}>"),
    others=(DEEPSEEK_SEPARATOR,),
)
DEEPSEEK_DSML = Style(
    opens=(f"<{DSML}invoke", f"<{DSML} invoke"),
    inside=(f"<{DSML}invoke", f"<{DSML} invoke"),
    closes=(f"</{DSML}invoke>", f"</{DSML} invoke>", "/>"),
    notation="dsml",
    drops=tuple(f"<{slash}{DSML}{part}>" for part in ("function_calls", "tool_calls", " calls") for slash in ("", "/")),
    others=(DSML,),
)
GEMMA = Style(opens=("<|tool_call>",), closes=("<tool_call|>",), notation="gemma", others=('<|"|>',))
HARMONY = Style(
    notation="harmony",
    wraps=True,
    others=("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"),
)
ANY = Style(
    opens=("<tool_call>", "<|tool_call|>", "<|python_tag|>", "[TOOL_CALLS]"),
    closes=("</tool_call>", "<|/tool_call|>"),
    bare=True,
)
REQUIRED = Style(bare=True, trusted=True)
"""What the grammar of `tool_choice: required` lets a model write: a list of calls and nothing else."""

STYLES = {
    "hermes": HERMES,
    "llama3_json": LLAMA,
    "llama4_pythonic": LLAMA_4,
    "mistral": MISTRAL,
    "granite": GRANITE,
    "phi4_mini_json": PHI,
    "qwen3_coder": QWEN_XML,
    "glm45": GLM,
    "kimi_k2": KIMI,
    "kimi_k3": KIMI_3,
    "deepseek_v3": DEEPSEEK,
    "deepseek_v32": DEEPSEEK_DSML,
    "gemma4": GEMMA,
    "openai": HARMONY,
    "json": ANY,
}
"""By the names that vLLM's `--tool-call-parser` knows them by; `json` takes whatever tag comes."""

_SIGNS = (
    ("<|channel|>", HARMONY),
    ("<|tool_call>", GEMMA),
    (DSML, DEEPSEEK_DSML),
    (f"<{BAR}tool▁calls▁begin{BAR}>", DEEPSEEK),
    ("<|tool_calls_section_begin|>", KIMI),
    ("<|close|>", KIMI_3),
    ("<arg_key>", GLM),
    ("<function=", QWEN_XML),
    ("[TOOL_CALLS]", MISTRAL),
    ("<|header_start|>", LLAMA_4),
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
