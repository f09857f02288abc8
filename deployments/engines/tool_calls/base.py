"""What all readers of answers share: steps over growing text, and the pieces that they give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from deployments.engines.tool_calls.pieces import CallDelta, Piece
from deployments.engines.tool_calls.reader import SPACE, Reader, Wait, any_of, half_of
from deployments.engines.tool_calls.styles import Style

Tools = Mapping[str, Mapping[str, Any]]
"""The tools of a request: the schema of the arguments of each, by its name."""


class StepParser(ABC):
    """A recursive descent over text that isn't all there: the steps are one generator, which yields where it needs more.

    What the reader has read and not forgotten is held: not yet known to be content or part of a call.
    """

    def __init__(self, style: Style, tools: Tools, new_id: Callable[[], str]) -> None:
        self._style = style
        self._tools = tools
        self._new_id = new_id
        self._reader = Reader()
        self._index = -1
        self._fresh = True  # no content since the last call or mark, or at all
        self._marked = False
        self._pieces: list[Piece] = []
        self._steps = self._answer()

    @property
    def called(self) -> bool:
        """Return whether there has been a call."""
        return self._index >= 0

    def begin(self, prompt: str) -> None:
        """Take the prompt, before anything else."""
        del prompt  # it says nothing of where calls stand

    def feed(self, text: str) -> list[Piece]:
        """Take more of the answer; return what is certain by now."""
        self._reader.text += text
        return self._advance()

    def end(self) -> list[Piece]:
        """Return what was held back: nothing more will come."""
        self._reader.ended = True
        return self._advance()

    def _advance(self) -> list[Piece]:
        next(self._steps, None)
        pieces, self._pieces = self._pieces, []
        return pieces

    @abstractmethod
    def _answer(self) -> Wait[None]:
        """Read the answer to its end."""

    def _is_blank(self) -> bool:
        return not self._reader.read.strip(SPACE)

    def _give_content(self) -> None:
        """Give what is held as content."""
        if self._reader.at:
            self._fresh = False
            self._give_text(self._reader.read)
            self._reader.forget()

    def _give_text(self, text: str) -> None:
        last = self._pieces.pop() if self._pieces and isinstance(self._pieces[-1], str) else ""
        self._pieces.append(f"{last}{text}")

    def _start(self, name: str, id: str | None = None) -> None:
        self._fresh = True
        self._index += 1
        self._pieces.append(CallDelta(self._index, id or self._new_id(), name))

    def _give_arguments(self, text: str) -> None:
        if text:
            self._pieces.append(CallDelta(self._index, arguments=text))

    def _give_arguments_read(self) -> None:
        self._give_arguments(self._reader.read)
        self._reader.forget()


class TagParser(StepParser):
    """Content, and in it calls behind tags, as one style writes them."""

    _tag = ""
    """The tag that was read last."""

    def _answer(self) -> Wait[None]:
        reader = self._reader
        if self._style.bare:
            yield from reader.skip_space()
            self._tag = yield from reader.word(self._style.opens)
            yield from self._calls(tagged=bool(self._tag) or self._style.trusted)
        while (yield from self._content()):
            here = reader.at
            yield from reader.skip_space()
            if not (yield from reader.peek()):
                reader.forget()  # the answer ends with a tag: a call was begun, and nothing of it was said
                return
            reader.at = here
            yield from self._calls(tagged=True)

    @abstractmethod
    def _calls(self, *, tagged: bool) -> Wait[None]:
        """Read calls, one or several; what turns out to be none is content."""

    def _content(self) -> Wait[bool]:
        """Give content up to the next tag and read that; False at the end of the answer."""
        reader, style = self._reader, self._style
        opening, half_open = any_of(style.marks), half_of(style.marks)
        if self._fresh:
            yield from reader.skip_space()
        while True:
            found = opening.search(reader.text, reader.at)
            if found:
                if not self._fresh or found.start() > reader.at:
                    reader.at = found.start()
                    self._give_content()
                reader.at += len(found[0])
                if found[0] in style.drops:
                    reader.forget()
                    self._fresh = self._marked = True
                    yield from reader.skip_space()
                    continue
                self._tag = found[0]
                return True
            # The end of the text may be the beginning of a tag.
            half = None if reader.ended else half_open.search(reader.text, reader.at)
            rest = half.start() if half else len(reader.text)
            if rest > reader.at or reader.ended:
                reader.at = rest
                if not (self._fresh and (self.called or self._marked) and self._is_blank()):
                    self._give_content()
            if reader.ended:
                return False
            yield
