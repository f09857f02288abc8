"""Generated text in pieces -> content and CallDeltas in pieces, as OpenAI writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from deployments.engines.tool_calls.reader import SPACE, Reader, Wait
from deployments.engines.tool_calls.styles import ARGUMENTS, Style

_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_KEYS = ("name", "arguments", "parameters", "type", "id")
"""What a call without a tag may say: any other key shows at once that the answer is some other JSON."""


@dataclass(frozen=True, slots=True)
class CallDelta:
    """The first of a call has `id` and `name` and no arguments; each that follows, a piece of the arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""

    def to_openai(self) -> dict[str, Any]:
        if self.id is None:
            return {"index": self.index, "function": {"arguments": self.arguments}}
        function = {"name": self.name, "arguments": self.arguments}
        return {"index": self.index, "id": self.id, "type": "function", "function": function}


Piece = str | CallDelta
"""A piece of an answer: content, or something of a call."""


@dataclass(slots=True)
class _Head:
    """What has been read of a call."""

    name: str | None = None
    arguments: str | None = None
    """Those that came before the name, and had to wait for it."""
    given: bool = False


class CallParser:
    """Content, and in it calls as one style writes them.

    A recursive descent over text that isn't all there: the steps are one generator, which yields where it needs more.
    What the reader has read and not forgotten is held: not yet known to be content or part of a call.
    """

    def __init__(self, style: Style, tools: Collection[str], new_id: Callable[[], str]) -> None:
        self._style = style
        self._tools = tools
        self._new_id = new_id
        self._opening = _any_of(style.opens)
        self._half_open = _any_of(sorted({tag[:size] for tag in style.opens for size in range(1, len(tag))}), r"\Z")
        self._reader = Reader()
        self._index = -1
        self._fresh = True  # no content since the last call, or at all
        self._pieces: list[Piece] = []
        self._steps = self._answer()

    @property
    def called(self) -> bool:
        """Return whether there has been a call."""
        return self._index >= 0

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

    def _answer(self) -> Wait[None]:
        if self._style.bare:
            yield from self._reader.skip_space()
            tag = yield from self._reader.word(self._style.opens)
            yield from self._calls(tagged=bool(tag) or self._style.trusted)
        while (yield from self._content()):
            yield from self._calls(tagged=True)

    def _content(self) -> Wait[bool]:
        """Give content up to the next tag and read that; False at the end of the answer."""
        reader = self._reader
        if self._fresh:
            yield from reader.skip_space()
        while True:
            found = self._opening.search(reader.text, reader.at)
            if found:
                if not self._fresh or found.start() > reader.at:
                    reader.at = found.start()
                    self._give_content()
                reader.at += len(found[0])
                return True
            # The end of the text may be the beginning of a tag.
            half = None if reader.ended else self._half_open.search(reader.text, reader.at)
            rest = half.start() if half else len(reader.text)
            if rest > reader.at or reader.ended:
                reader.at = rest
                if not (self._fresh and self.called and self._is_blank()):
                    self._give_content()
            if reader.ended:
                return False
            yield

    def _calls(self, *, tagged: bool) -> Wait[None]:
        """Read calls, one or several; what turns out to be none is content."""
        reader = self._reader
        yield from reader.skip_space()
        listed = bool((yield from reader.word("[")))
        if listed:
            yield from reader.skip_space()
        while True:
            if not (yield from self._call(tagged=tagged)):
                if self._is_blank():
                    reader.at = 0  # blank text may still stand before a call
                self._give_content()
                return
            reader.forget()
            yield from reader.skip_space()
            if listed and (yield from reader.word("]")):
                reader.forget()
                break
            if not (yield from reader.word("," if listed else ";")) and not self._style.named:
                break
            yield from reader.skip_space()
        yield from self._close()

    def _close(self) -> Wait[None]:
        """Read a closing tag, with the braces too many that small models write before it; else all of it is content."""
        reader = self._reader
        if self._style.closes:
            yield from reader.skip_space()
            while (yield from reader.word("}")):
                yield from reader.skip_space()
            if (yield from reader.word(self._style.closes)):
                reader.forget()
        reader.at = 0

    def _call(self, *, tagged: bool) -> Wait[bool]:
        """Read one call; False, with all of it still held, when it is none."""
        reader = self._reader
        if not (yield from reader.word("{")):
            return self._style.named and (yield from self._named_call(tagged=tagged))
        head = _Head()
        while True:
            yield from reader.skip_space()
            if not (yield from self._member(head, tagged=tagged)):
                return head.given  # once given, it is too late to call it content, whatever its end looks like
            yield from reader.skip_space()
            if not (yield from reader.word(",")):
                break
        closed = yield from reader.word("}")
        if head.given:
            return True
        if not closed or head.name is None or (head.arguments is None and not tagged):
            return False
        self._start(head.name)
        self._give_arguments(head.arguments or "{}")
        return True

    def _member(self, head: _Head, *, tagged: bool) -> Wait[bool]:
        """Read a key and its value; False when this is no call, or is broken."""
        reader = self._reader
        key = yield from reader.string()
        if key is None or not (tagged or key in _KEYS):
            return False
        yield from reader.skip_space()
        if not (yield from reader.word(":")):
            return False
        yield from reader.skip_space()
        if key == "name" and head.name is None:
            head.name = yield from reader.string()
            return bool(head.name) and (tagged or head.name in self._tools)
        if key in ("arguments", "parameters") and not head.given and head.arguments is None:
            if head.name is None:
                head.arguments = yield from self._whole_arguments(tagged=tagged)
                return head.arguments is not None
            head.given = yield from self._arguments(head.name, tagged=tagged)
            return head.given
        return (yield from reader.value())

    def _named_call(self, *, tagged: bool) -> Wait[bool]:
        """Read `name[ARGS]{…}`; without its tag the text shows `name{…}`."""
        reader = self._reader
        name = yield from (reader.run(_NAME) if tagged else reader.word(self._tools))
        if not name:
            return False
        yield from reader.word((ARGUMENTS,))
        if (yield from reader.peek()) != "{":
            return False
        return (yield from self._arguments(name, tagged=tagged))

    def _arguments(self, name: str, *, tagged: bool) -> Wait[bool]:
        """Give the arguments as they come; False when they can't be any."""
        reader = self._reader
        if (yield from reader.peek()) != "{":
            whole = yield from self._whole_arguments(tagged=tagged)
            if whole is None:
                return False
            self._start(name)
            self._give_arguments(whole)
            return True
        self._start(name)
        reader.forget()
        yield from reader.value(self._give_arguments_read)
        self._give_arguments_read()
        return True

    def _whole_arguments(self, *, tagged: bool) -> Wait[str | None]:
        """Read arguments that can't be given as they come: before the name, or as JSON within a string."""
        reader = self._reader
        start = reader.at
        first = yield from reader.peek()
        if first == '"':
            text = yield from reader.string()
            return text if text is None else text or "{}"
        if not (yield from reader.value()):
            return None
        raw = reader.text[start : reader.at]
        if first == "{":
            return raw
        if not tagged:
            return None
        return "{}" if raw == "null" else raw

    def _is_blank(self) -> bool:
        return not self._reader.read.strip(SPACE)

    def _give_content(self) -> None:
        if self._reader.at:
            self._fresh = False
            last = self._pieces.pop() if self._pieces and isinstance(self._pieces[-1], str) else ""
            self._pieces.append(f"{last}{self._reader.read}")
            self._reader.forget()

    def _start(self, name: str) -> None:
        self._fresh = True
        self._index += 1
        self._pieces.append(CallDelta(self._index, self._new_id(), name))

    def _give_arguments(self, text: str) -> None:
        if text:
            self._pieces.append(CallDelta(self._index, arguments=text))

    def _give_arguments_read(self) -> None:
        self._give_arguments(self._reader.read)
        self._reader.forget()


class NamedCallParser:
    """The whole answer is the arguments of one call: a grammar has seen to it."""

    def __init__(self, name: str, style: Style) -> None:
        self._first = CallDelta(0, style.new_id(), name)
        self.called = False

    def feed(self, text: str) -> list[Piece]:
        if not text:
            return []
        opening = [] if self.called else [self._first]
        self.called = True
        return [*opening, CallDelta(0, arguments=text)]

    def end(self) -> list[Piece]:
        return []


ToolCallParser = CallParser | NamedCallParser


def join_calls(deltas: Iterable[CallDelta]) -> list[dict[str, Any]]:
    """Return the whole calls, as a message's `tool_calls` has them."""
    opened: dict[int, CallDelta] = {}
    arguments: dict[int, list[str]] = {}
    for delta in deltas:
        opened.setdefault(delta.index, delta)
        arguments.setdefault(delta.index, []).append(delta.arguments)
    return [
        {"id": delta.id, "type": "function", "function": {"name": delta.name, "arguments": "".join(arguments[index])}}
        for index, delta in opened.items()
    ]


def _any_of(words: Collection[str], then: str = "") -> re.Pattern[str]:
    """Return what finds any of these words; nothing, where there are none."""
    return re.compile(f"(?:{'|'.join(map(re.escape, words))}){then}" if words else r"(?!)")
