"""What a model thinks before it answers, told apart from the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.engines.tool_calls.pieces import AnswerParser, Piece, Thought
from deployments.engines.tool_calls.reader import Reader, Wait


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a model marks its reasoning: one block, which opens the answer, or which the prompt has opened already."""

    opens: tuple[str, ...]
    closes: tuple[str, ...]
    breaks: tuple[str, ...] = ()
    """What ends a block that the model forgot to close, and is itself part of the answer."""
    parts: tuple[str, ...] = ()
    """Special tokens that these are put together from."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Return all that marks reasoning, whether or not it is a special token of the model."""
        return (*self.opens, *self.closes, *self.parts)

    def opened(self, prompt: str) -> bool:
        """Return whether the prompt ends within a block: the model goes on from there."""
        return prompt.rstrip().endswith(self.opens)


THINK = Thinking(("<think>",), ("</think>",))
QWEN_XML = Thinking(("<think>",), ("</think>",), breaks=("<tool_call>\n<function=",))
MISTRAL = Thinking(("[THINK]", "<think>"), ("[/THINK]", "</think>"))
GEMMA = Thinking(("<|channel>thought",), ("<channel|>",), parts=("<|channel>",))
KIMI_3 = Thinking(
    ("<|open|>think<|sep|>",),
    ("<|close|>think<|sep|>",),
    breaks=("<|open|>response<|sep|>", "<|open|>tools<|sep|>"),
    parts=("<|open|>", "<|close|>", "<|sep|>"),
)

THINKING: Mapping[str, Thinking | None] = {
    "qwen3": THINK, "qwen3_coder": QWEN_XML, "mistral": MISTRAL, "gemma4": GEMMA, "kimi_k3": KIMI_3, "none": None,
}  # fmt: skip
"""By the names of `reasoning_parser`, most of them vLLM's; `none` leaves reasoning in the answer."""


class ReasoningParser:
    """Gives the reasoning that opens an answer, and hands what follows to another parser.

    Blank text around the reasoning is dropped: templates and models put line breaks there that nobody said.
    """

    def __init__(self, thinking: Thinking, answer: AnswerParser | None) -> None:
        self._thinking = thinking
        self._answer = answer
        self._reader = Reader()
        self._pieces: list[Piece] = []
        self._opened = False
        self._steps = self._read()
        self._done = False

    @property
    def called(self) -> bool:
        return self._answer is not None and self._answer.called

    def begin(self, prompt: str) -> None:
        """Take the prompt: it may have put the model within its reasoning."""
        self._opened = self._thinking.opened(prompt)

    def feed(self, text: str) -> list[Piece]:
        if self._done:
            return self._content(text)
        self._reader.text += text
        return self._advance()

    def end(self) -> list[Piece]:
        self._reader.ended = True
        pieces = [] if self._done else self._advance()
        return [*pieces, *(self._answer.end() if self._answer else ())]

    def _advance(self) -> list[Piece]:
        try:
            next(self._steps)
        except StopIteration:
            self._done = True
            rest, self._reader.text = self._reader.text[self._reader.at :], ""
            self._pieces += self._content(rest)
        pieces, self._pieces = self._pieces, []
        return pieces

    def _content(self, text: str) -> list[Piece]:
        if not text:
            return []
        return [text] if self._answer is None else self._answer.feed(text)

    def _read(self) -> Wait[None]:
        """Read reasoning, if there is any; `at` is where the answer begins."""
        reader, thinking = self._reader, self._thinking
        if not self._opened:
            yield from reader.skip_space()
            if not (yield from reader.word(thinking.opens)):
                reader.at = 0
                return
        elif (yield from self._reopened()):
            pass  # some models repeat the tag that the prompt has
        reader.forget()
        yield from reader.skip_space()
        reader.forget()
        ends = (*thinking.closes, *thinking.breaks)
        while True:
            found = yield from reader.text_before(ends, self._give)
            if found in thinking.closes:
                reader.at += len(found)
                yield from reader.skip_space()
            return

    def _reopened(self) -> Wait[str]:
        yield from self._reader.skip_space()
        return (yield from self._reader.word(self._thinking.opens))

    def _give(self, text: str) -> None:
        self._pieces.append(Thought(text))
