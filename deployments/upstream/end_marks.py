"""Watch the chunks of a JSON stream for the end mark of its protocol; a stream that ends without it was cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from graphs.stream import Batch

_OPENAI = "no finish_reason and no [DONE]"
_OPENAI_OBJECTS = ("chat.completion", "text_completion")
_OF_A_CHOICE = frozenset({"delta", "text", "finish_reason"})
_ANTHROPIC = "no message_stop"


class EndMark:
    """Watches one stream. `demanded`: an end mark must come even if the stream speaks no protocol that is known here."""

    def __init__(self, demanded: bool = False) -> None:
        self._missing = "no [DONE]" if demanded else ""
        self._demanded = demanded
        self._chunks = 0
        self._finished: dict[str, bool] = {}
        """Of OpenAI's choices, by their index, whether each has finished."""

    def watch(self, batch: Batch) -> None:
        """Take the chunks that have come."""
        self._chunks += len(batch)
        for chunk in batch:
            if type(chunk) is dict:
                fields = cast("dict[str, Any]", chunk)
                if "choices" in fields:
                    self._watch_choices(fields)
                elif fields.get("type") == "message_start":
                    self._missing = _ANTHROPIC
                elif fields.get("type") == "message_stop":
                    self._missing = ""

    def mistake(self) -> str | None:
        """Return what is wrong with the end of the stream; None if nothing is."""
        if not self._missing:
            return None
        came = "1 chunk" if self._chunks == 1 else f"{self._chunks} chunks"
        hint = "" if self._demanded else "; for an API that sends none, write `complete: false`"
        return f"the stream ended before its end mark: {came} came, but {self._missing}{hint}"

    def _watch_choices(self, chunk: Mapping[str, Any]) -> None:
        choices = chunk["choices"]
        known = str(chunk.get("object", "")).startswith(_OPENAI_OBJECTS)
        for choice in cast("list[Any]", choices) if isinstance(choices, list) else ():
            if isinstance(choice, dict) and (known or _OF_A_CHOICE & cast("dict[str, Any]", choice).keys()):
                fields = cast("dict[str, Any]", choice)
                index = str(fields.get("index", 0))
                self._finished[index] = self._finished.get(index, False) or bool(fields.get("finish_reason"))
        if known or self._finished:
            self._missing = "" if self._finished and all(self._finished.values()) else _OPENAI
