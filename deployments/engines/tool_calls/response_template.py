"""Answers of a model that ships a response template: transformers' own parser reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from transformers.utils.chat_parsing import ResponseParser

from deployments.engines.tool_calls.pieces import CallDelta, Piece, Thought

REASONING = ("reasoning_content", "reasoning", "thinking")
"""What templates call the reasoning."""
CALLS = "tool_calls"
ROLE = "role"


class TemplateParser:
    """Reads the regions that a template names. Blanks around a region's text are dropped, as `parse_response` does.

    A region that is not as its template says, such as a call in broken JSON, is content.
    """

    def __init__(
        self, template: Mapping[str, Any], tools: Sequence[Mapping[str, Any]], new_id: Callable[[], str]
    ) -> None:
        spec = deepcopy(dict(template))
        for field in spec["fields"].values():
            field["optional"] = True  # an answer may be cut off before it says everything
        self._spec = spec
        self._tools: list[Any] = [dict(tool) for tool in tools]
        self._new_id = new_id
        self._index = -1
        self._prompt = ""
        self._fed = ""
        self._parser: Any = None
        self._pieces: list[Piece] = []
        self._body = ""
        self._given = 0
        self._restart("")

    @property
    def called(self) -> bool:
        """Return whether there has been a call."""
        return self._index >= 0

    def begin(self, prompt: str) -> None:
        """Take the prompt: the model goes on within the region that its end has opened."""
        self._restart(prompt)
        for event in self._parser.initial_events:
            self._handle(event)
        self._pieces.clear()  # what the prompt says, the model didn't

    def feed(self, text: str) -> list[Piece]:
        try:
            events = self._parser.feed(text)
        except ValueError:
            self._feed_carefully(text)
        else:
            self._fed += text
            for event in events:
                self._handle(event)
        return self._taken()

    def end(self) -> list[Piece]:
        try:
            _, events = self._parser.finalize()
        except ValueError:
            self._give_broken()
        else:
            for event in events:
                self._handle(event)
        return self._taken()

    def _restart(self, prompt: str) -> None:
        self._prompt, self._fed = prompt, ""
        self._parser = self._new_parser()

    def _new_parser(self) -> Any:
        return ResponseParser(self._spec, prefix=self._prompt, tools=self._tools)

    def _feed_carefully(self, text: str) -> None:
        """Feed text in which a region is broken: the parser forgets what it had found, so it is asked once more."""
        self._parser = self._new_parser()
        self._parser.feed(self._fed)
        for at, character in enumerate(text, 1):
            try:
                events = self._parser.feed(character)
            except ValueError:
                self._give_broken()
                self._restart("")
                self._pieces = self.feed(text[at:])
                return
            self._fed += character
            for event in events:
                self._handle(event)

    def _handle(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "region_open":
                self._body, self._given = "", 0
            case "region_chunk":
                self._body += event["text"]
                if not event["dirty"]:
                    self._give_body(event["field"])
            case _:
                self._close(event["field"], event["value"])

    def _give_body(self, field: str) -> None:
        """Give what is certain of a region's text: blanks at its end may be the last of it."""
        text = self._body.strip()
        self._give(field, text[self._given :])
        self._given = len(text)

    def _close(self, field: str, value: Any) -> None:
        if field == CALLS:
            calls = value if isinstance(value, list) else [value]
            if not all(map(self._call, calls)):
                self._give_broken()
        elif isinstance(value, str):
            self._give(field, value.strip()[self._given :])
        self._body = ""

    def _give(self, field: str, text: str) -> None:
        if text and field in REASONING:
            self._pieces.append(Thought(text))
        elif text and field != ROLE:
            self._pieces.append(text)

    def _give_broken(self) -> None:
        self._give("content", self._body.strip()[self._given :])
        self._body = ""

    def _call(self, value: Any) -> bool:
        """Give a call; return whether it is one."""
        function = value.get("function", value) if isinstance(value, dict) else {}
        name, arguments = function.get("name"), function.get("arguments", {})
        if not isinstance(name, str):
            return False
        self._index += 1
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        self._pieces += (CallDelta(self._index, self._new_id(), name), CallDelta(self._index, arguments=text))
        return True

    def _taken(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces
