"""Generated text in pieces -> content and CallDeltas in pieces: calls whose arguments are JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployments.engines.tool_calls.base import TagParser
from deployments.engines.tool_calls.pieces import CallDelta, Piece
from deployments.engines.tool_calls.reader import Wait
from deployments.engines.tool_calls.styles import ARGUMENTS, CALL_ID, DEEPSEEK_SEPARATOR, FENCE, KIMI_ARGUMENTS, Style

_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_KIMI_ID = re.compile(r"[^\s<]*")
_KEYS = ("name", "arguments", "parameters", "type", "id")
"""What a call without a tag may say: any other key shows at once that the answer is some other JSON."""


@dataclass(slots=True)
class _Head:
    """What has been read of a call."""

    name: str | None = None
    arguments: str | None = None
    """Those that came before the name, and had to wait for it."""
    given: bool = False


class CallParser(TagParser):
    """Calls as JSON: `{"name": …, "arguments": {…}}` between tags, or several in a list. Arguments are given as they come."""

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
            if not (yield from reader.word("," if listed else ";")) and self._style.head != "mistral":
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
            return self._style.head is not None and (yield from self._named_call(tagged=tagged))
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
        """Read a call whose name stands before its arguments."""
        id: str | None = None
        match self._style.head:
            case "mistral":
                name, id = yield from self._mistral_head(tagged=tagged)
            case "kimi":
                name, id = yield from self._kimi_head()
            case _:
                name = yield from self._deepseek_head()
        if not name or (yield from self._reader.peek()) != "{":
            return False
        yield from self._arguments(name, tagged=tagged, id=id)
        yield from self._reader.skip_space()
        if (yield from self._reader.word((FENCE,))):
            self._reader.forget()
        return True

    def _mistral_head(self, *, tagged: bool) -> Wait[tuple[str, str | None]]:
        """Read `name[CALL_ID]id[ARGS]`, the id left out or not; without its tags the text shows `name`."""
        reader = self._reader
        name = yield from (reader.run(_NAME) if tagged else reader.word(self._tools))
        id = None
        if name and (yield from reader.word((CALL_ID,))):
            id = yield from reader.run(_NAME)
        yield from reader.word((ARGUMENTS,))
        return name, id

    def _kimi_head(self) -> Wait[tuple[str, str | None]]:
        """Read `functions.name:0 <|tool_call_argument_begin|>`: that whole is the call's id, which its template takes back."""
        reader = self._reader
        id = yield from reader.run(_KIMI_ID)
        yield from reader.skip_space()
        if not (yield from reader.word((KIMI_ARGUMENTS,))):
            return "", None
        yield from reader.skip_space()
        name = id.removeprefix("functions.").partition(":")[0]
        return name, id if ":" in id else None

    def _deepseek_head(self) -> Wait[str]:
        """Read a name and a separator; older models write `function`, the separator, the name and a fence."""
        reader = self._reader
        name = yield from reader.run(_NAME)
        if not (yield from reader.word((DEEPSEEK_SEPARATOR,))):
            return ""
        yield from reader.skip_space()
        if name == "function" and (yield from reader.peek()) != "{":
            name = yield from reader.run(_NAME)
            yield from reader.skip_space()
            yield from reader.word((f"{FENCE}json", FENCE))
        yield from reader.skip_space()
        return name

    def _arguments(self, name: str, *, tagged: bool, id: str | None = None) -> Wait[bool]:
        """Give the arguments as they come; False when they can't be any."""
        reader = self._reader
        if (yield from reader.peek()) != "{":
            whole = yield from self._whole_arguments(tagged=tagged)
            if whole is None:
                return False
            self._start(name)
            self._give_arguments(whole)
            return True
        self._start(name, id)
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


class NamedCallParser:
    """The whole answer is the arguments of one call: a grammar has seen to it."""

    def __init__(self, name: str, style: Style) -> None:
        self._first = CallDelta(0, style.new_id(), name)
        self.called = False

    def begin(self, prompt: str) -> None:
        """Take the prompt, which says nothing of the arguments."""

    def feed(self, text: str) -> list[Piece]:
        if not text:
            return []
        opening = [] if self.called else [self._first]
        self.called = True
        return [*opening, CallDelta(0, arguments=text)]

    def end(self) -> list[Piece]:
        return []
