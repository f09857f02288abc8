"""Watch the chunks of a JSON stream for the end mark of its protocol; a stream that ends without it was cut."""

from __future__ import annotations

from typing import Any, cast

from graphs.stream import Batch, Chunk

_OPENAI_OBJECTS = ("chat.completion", "text_completion")
_OF_A_CHOICE = frozenset({"delta", "text", "finish_reason"})


class EndMark:
    """Watches one stream. `demanded`: an end mark must come even if the stream speaks no protocol that is known here."""

    def __init__(self, demanded: bool = False) -> None:
        self._demanded = demanded
        self._chunks = 0
        self._openai = False
        self._begun: set[int] = set()
        """The indexes of OpenAI's choices that have come without a finish_reason…"""
        self._finished: set[int] = set()
        """…and with one."""
        self._anthropic: str | None = None
        """The last of Anthropic's two marks that has come."""

    def watch(self, batch: Batch) -> None:
        """Take the chunks that have come."""
        # Every chunk passes here: no calls, not even casts, for a chunk that says nothing about its end.
        self._chunks += len(batch)
        for chunk in batch:
            if chunk.__class__ is not dict:
                continue
            choices = chunk.get("choices")
            if choices.__class__ is list and (self._openai or _is_openai(chunk, choices)):
                self._openai = True
                for choice in choices:
                    if choice.__class__ is dict:
                        index = choice.get("index", 0)
                        seen = self._finished if choice.get("finish_reason") else self._begun
                        seen.add(index if index.__class__ is int else 0)
            elif chunk.get("type") in ("message_start", "message_stop"):
                self._anthropic = chunk["type"]

    def mistake(self) -> str | None:
        """Return what is wrong with the end of the stream; None if nothing is."""
        missing = self._missing()
        if missing is None:
            return None
        came = "1 chunk" if self._chunks == 1 else f"{self._chunks} chunks"
        hint = "" if self._demanded else "; for an API that sends none, write `complete: false`"
        return f"the stream ended before its end mark: {came} came, but {missing}{hint}"

    def _missing(self) -> str | None:
        if self._openai:
            return "no finish_reason and no [DONE]" if self._begun - self._finished or not self._finished else None
        if self._anthropic is not None:
            return "no message_stop" if self._anthropic == "message_start" else None
        return "no [DONE]" if self._demanded else None


def _is_openai(chunk: Chunk, choices: list[Any]) -> bool:
    """Return whether a chunk with `choices` is one of OpenAI's: other data may have a field of that name."""
    if str(chunk.get("object", "")).startswith(_OPENAI_OBJECTS):
        return True
    return any(isinstance(choice, dict) and _OF_A_CHOICE & cast("dict[str, Any]", choice).keys() for choice in choices)
