"""gpt-oss's answers: messages on channels, one for reasoning, one for the answer, and calls addressed to tools."""

from __future__ import annotations

import re
from collections.abc import Callable

from deployments.engines.tool_calls.base import StepParser
from deployments.engines.tool_calls.pieces import Thought
from deployments.engines.tool_calls.reader import Wait

START, MESSAGE = "<|start|>", "<|message|>"
ENDS = ("<|end|>", "<|return|>", "<|call|>")
OF_FUNCTIONS = "functions."

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")


class HarmonyParser(StepParser):
    """A message is `<|start|>assistant to=functions.name<|channel|>commentary<|message|>…<|end|>`.

    The recipient stands before or behind the channel, or nowhere. The prompt ends within the first header. An answer
    that has no header at all is content.
    """

    def _answer(self) -> Wait[None]:
        reader = self._reader
        yield from reader.skip_space()
        if not (yield from reader.word((START, "<|channel|>", MESSAGE, "to="))):
            reader.at = 0
            if (yield from reader.peek()):
                yield from self._text(self._give_text)
        else:
            reader.at = 0
        while (yield from reader.peek()):
            yield from self._message()

    def _message(self) -> Wait[None]:
        reader = self._reader
        found = yield from reader.find((MESSAGE, "<|end|>"))
        header = reader.read
        reader.at += len(found)
        reader.forget()
        if found != MESSAGE:
            return  # a header that was cut, or isn't one, says nothing
        header = header.rpartition(START)[2]
        recipient = _RECIPIENT.search(header)
        name = recipient[1] if recipient else ""
        if name.startswith(OF_FUNCTIONS) or name in self._tools:
            yield from self._call(name.removeprefix(OF_FUNCTIONS))
            return
        channel = _CHANNEL.search(header)
        # A tool that is built into the model, and that nobody offered here, is part of how it thinks.
        thought = name not in ("", "assistant", "user") or (channel is not None and channel[1] == "analysis")
        yield from self._text(self._give_thought if thought else self._give_text)

    def _call(self, name: str) -> Wait[None]:
        """Read the arguments, in whose texts any tag may stand."""
        reader = self._reader
        yield from reader.skip_space()
        self._start(name)
        reader.forget()
        yield from reader.value(self._give_arguments_read)
        self._give_arguments_read()
        end = yield from reader.find((*ENDS, START))
        reader.at += 0 if end == START else len(end)
        reader.forget()

    def _text(self, give: Callable[[str], None]) -> Wait[None]:
        """Read text to its end; `<|call|>` ends calls alone, and is text elsewhere."""
        reader = self._reader
        end = yield from reader.text_before(("<|end|>", "<|return|>", "<|start|>assistant"), give)
        reader.at += 0 if end.startswith(START) else len(end)
        reader.forget()

    def _give_thought(self, text: str) -> None:
        self._pieces.append(Thought(text))
