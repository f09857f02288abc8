"""The pieces of an answer -> the events of a response, numbered from 0, and the response itself: both are folds of the pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from json.encoder import encode_basestring
from typing import Any, Literal, NamedTuple, cast

from deployments.asgi.json_values import json_text
from deployments.conversations.parts import Began, Closed, Grew, Part, PartEvent, Parts
from deployments.conversations.pieces import Ended, Piece
from graphs.errors import AnabranchError, Cancelled, RunLost
from graphs.stream import Value

ALL = 2**53 - 1
"""A number beyond that of every event."""
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer isn't complete, by how it ended."""

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
Item = dict[str, Any]


class Event(NamedTuple):
    """An event of a response. Half a surrogate pair may stand in its text: `utf8` writes it."""

    type: str
    text: str
    """The event as JSON."""


@dataclass(frozen=True, slots=True)
class About:
    """What of a response is known before its first piece."""

    run: str
    created_at: float
    asked: Mapping[str, Any]
    """The fields of the response that repeat the request."""
    places: Sequence[str] = ()
    """Where in the request each message stands that the model was told."""

    @property
    def id(self) -> str:
        return response_id(self.run)


class _Words(NamedTuple):
    """How a kind of part is called."""

    delta: str
    done: str
    said: str
    """The key of its whole text in the event at its end."""
    content: str
    """The type of its content; empty for a call, which has none."""


_WORDS = {
    "text": _Words("response.output_text.delta", "response.output_text.done", "text", "output_text"),
    "refusal": _Words("response.refusal.delta", "response.refusal.done", "refusal", "refusal"),
    "reasoning": _Words("response.reasoning_text.delta", "response.reasoning_text.done", "text", "reasoning_text"),
    "call": _Words("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments", ""),
}
_PREFIXES = {"text": "msg", "refusal": "msg", "reasoning": "rs", "call": "fc"}


class ResponseEncoder:
    """Writes the events of one response. Those up to the number `after` are counted, and not written."""

    def __init__(self, about: About, after: int = -1) -> None:
        self.about = about
        self.failure: AnabranchError | None = None
        """Why it failed, or was cancelled."""
        self.begun = False
        self._after = after
        self._number = 0
        """Of the next event."""
        self._parts = Parts()
        self._statuses: list[str] = []
        """Of the items, by their index."""
        self._status: Status = "queued" if about.asked["background"] else "in_progress"
        self._finish: str | None = None
        self._completed_at: float | None = None
        self._delta: tuple[str, str, str] = ("", "", "")
        """The type of the open part's deltas, and what stands before and after the text of each: they are most of a response."""

    @property
    def answered(self) -> bool:
        """Return whether all of an answer is there."""
        return self._finish is not None

    # --- events ------------------------------------------------------------------------------------------------------

    def begin(self) -> list[Event]:
        """Return the first events: the response is there."""
        self.begun = True
        begun = self._of_response("response.created")
        return [*begun, *self._of_response(f"response.{self._status}")]

    def start(self) -> list[Event]:
        """Return what follows when it leaves the queue."""
        if self._status != "queued":
            return []
        self._status = "in_progress"
        return self._of_response("response.in_progress")

    def add(self, pieces: Sequence[Piece], at: float) -> list[Event]:
        """Return the events of the next pieces, which came at this time."""
        events = [] if self.begun else self.begin()
        for piece in pieces:
            if type(piece) is str and self._parts.more(piece):
                events += self._grew(piece)
                continue
            if isinstance(piece, Ended):
                self._finish = piece.finish
            for change in self._parts.add((piece,)):
                events += self._changed(change)
        if self._finish is not None:
            events += self._end(at)
        return events

    def fail(self, error: AnabranchError) -> list[Event]:
        """Return the last events of a response that failed, or that was cancelled."""
        self.failure = error
        events = [event for change in self._parts.close() for event in self._changed(change)]
        self._status = "cancelled" if isinstance(error, Cancelled) else "failed"
        if isinstance(error, RunLost) and self._number <= self._after < ALL:
            # The reader has seen more than was kept of the run: it hears the end all the same, as what comes next.
            self._number = self._after + 1
        return [*events, *self._of_response("response.failed")]

    def _end(self, at: float) -> list[Event]:
        if self._finish in INCOMPLETE:
            self._status = "incomplete"
        else:
            self._status, self._completed_at = "completed", at
        return self._of_response(f"response.{self._status}")

    def _changed(self, change: PartEvent) -> Iterator[Event]:
        match change:
            case Grew(part, text, logprobs):
                yield from self._grew(text, logprobs if part.kind == "text" else ())
            case Began(part):
                yield from self._began(part)
            case Closed(part):
                yield from self._closed(part)

    def _grew(self, text: str, logprobs: Sequence[Value] = ()) -> Sequence[Event]:
        number = self._number
        self._number += 1
        if number <= self._after:
            return ()
        type, before, after = self._delta
        if logprobs:
            after = f', "logprobs": {json_text(_logprobs(logprobs))}, "sequence_number": '
        return (Event(type, f"{before}{encode_basestring(text)}{after}{number}}}"),)

    def _began(self, part: Part) -> Iterator[Event]:
        self._statuses.append("in_progress")
        words, place = _WORDS[part.kind], self._place(part)
        item = self._item(part)
        if words.content:
            item["content"] = []
        yield from self._event("response.output_item.added", {"output_index": part.index, "item": item})
        if words.content:
            yield from self._event("response.content_part.added", {**place, "part": _content(part)})
        said = json_text({"type": words.delta, **place})
        logprobs = ', "logprobs": []' if part.kind == "text" else ""
        self._delta = words.delta, f'{said[:-1]}, "delta": ', f'{logprobs}, "sequence_number": '

    def _closed(self, part: Part) -> Iterator[Event]:
        # What the last token or a failure cut is not complete; what came before it is.
        cut = self._finish in INCOMPLETE or self.failure is not None
        self._statuses[part.index] = "incomplete" if cut else "completed"
        words, place = _WORDS[part.kind], self._place(part)
        logprobs = {"logprobs": _logprobs(part.logprobs)} if part.kind == "text" else {}
        yield from self._event(words.done, {**place, words.said: part.text, **logprobs})
        if words.content:
            yield from self._event("response.content_part.done", {**place, "part": _content(part)})
        item = {"output_index": part.index, "item": self._item(part)}
        yield from self._event("response.output_item.done", item)

    def _of_response(self, type: str) -> list[Event]:
        if self._number <= self._after:
            self._counted()
            return []
        return list(self._event(type, {"response": self.response()}))

    def _event(self, type: str, said: Mapping[str, Any]) -> Iterator[Event]:
        number = self._counted()
        if number > self._after:
            yield Event(type, json_text({"type": type, **said, "sequence_number": number}))

    def _counted(self) -> int:
        number = self._number
        self._number += 1
        return number

    def _place(self, part: Part) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self._id(part), "output_index": part.index}
        return place if part.kind == "call" else {**place, "content_index": 0}

    # --- the response ------------------------------------------------------------------------------------------------

    def response(self) -> dict[str, Any]:
        """Return the response as far as its pieces have come."""
        about = self.about
        reason = INCOMPLETE.get(self._finish or "")
        return {
            "id": about.id,
            "object": "response",
            "created_at": int(about.created_at),
            "completed_at": None if self._completed_at is None else int(self._completed_at),
            "status": self._status,
            "error": None if self.failure is None or self._status == "cancelled" else response_error(self.failure),
            "incomplete_details": {"reason": reason} if self._status == "incomplete" else None,
            **about.asked,
            "output": self.output(),
            "usage": _usage(self._parts.ended),
        }

    def output(self) -> list[Item]:
        """Return the items that there are."""
        return [self._item(part) for part in self._parts.all]

    def _item(self, part: Part) -> Item:
        id, status = self._id(part), self._statuses[part.index]
        match part.kind:
            case "call":
                called = {"call_id": part.id, "name": part.name, "arguments": part.text}
                return {"id": id, "type": "function_call", "status": status, **called}
            case "reasoning":
                return {"id": id, "type": "reasoning", "status": status, "summary": [], "content": [_content(part)]}
            case _:
                said = {"role": "assistant", "content": [_content(part)]}
                return {"id": id, "type": "message", "status": status, **said}

    def _id(self, part: Part) -> str:
        return item_id(_PREFIXES[part.kind], self.about.run, part.index)


def response_id(run: str) -> str:
    """Return the id of the response that a run makes."""
    return f"resp_{run.removeprefix('run_')}"


def item_id(prefix: str, run: str, place: int | str) -> str:
    """Return the id of an item of a response: made of the run's, it is the same whenever and wherever it is read."""
    return f"{prefix}_{run.removeprefix('run_')}_{place}"


def response_error(error: AnabranchError) -> dict[str, Any]:
    """Return an error as a response has it."""
    code = error.details.get("code")
    return {"code": code if isinstance(code, str) else _code(error.status), "message": error.message}


def _code(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_exceeded"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_prompt"


def _content(part: Part) -> dict[str, Any]:
    type = _WORDS[part.kind].content
    match part.kind:
        case "text":
            return {"type": type, "text": part.text, "annotations": [], "logprobs": _logprobs(part.logprobs)}
        case "refusal":
            return {"type": type, "refusal": part.text}
        case _:
            return {"type": type, "text": part.text}


def _logprobs(tokens: Sequence[Value]) -> list[Any]:
    """Return chat completions' probabilities as responses have them: the bytes and the likely others of every token are there."""
    told: list[Any] = []
    for token in tokens:
        if isinstance(token, Mapping):
            said = cast("Mapping[str, Any]", token)
            told.append(
                {**_with_bytes(said), "top_logprobs": [_with_bytes(top) for top in said.get("top_logprobs") or ()]}
            )
    return told


def _with_bytes(token: Mapping[str, Any]) -> dict[str, Any]:
    text, data = str(token.get("token", "")), token.get("bytes")
    data = list(text.encode("utf-8", "replace")) if data is None else data
    return {"token": text, "logprob": token.get("logprob"), "bytes": data}


def _usage(ended: Ended | None) -> dict[str, Any] | None:
    usage = None if ended is None else ended.usage
    if usage is None or not isinstance(usage.get("prompt_tokens"), int | float):
        return None
    read, written = usage["prompt_tokens"], usage.get("completion_tokens", 0)
    cached, thought = _detail(usage, "prompt", "cached"), _detail(usage, "completion", "reasoning")
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": usage.get("total_tokens", read + written),
    }


def _detail(usage: Mapping[str, Any], side: str, name: str) -> int:
    details = usage.get(f"{side}_tokens_details")
    found = cast("Mapping[str, Any]", details).get(f"{name}_tokens") if isinstance(details, Mapping) else None
    return found if isinstance(found, int) else 0
