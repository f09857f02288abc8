"""The turns of a session as they stand in the store -> the messages that a model is sent, as many as it may; and a run's log ->
what is remembered of its turn."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from deployments.asgi.json_values import json_text
from deployments.conversations.pieces import Answer
from deployments.conversations.reading import Reading
from deployments.conversations.request import Message, text_of
from deployments.gateway.entries import Entry
from deployments.runs.events import Delta, Finished, RunCancelled
from deployments.store.rows import Settled, TurnRow, TurnState


class Limits(NamedTuple):
    """How much a model is sent."""

    messages: int
    characters: int


def stored(value: Any) -> str:
    """Return a value as JSON that every database takes."""
    return json_text(value).encode("utf-8", "backslashreplace").decode()


def messages_of(turn: TurnRow) -> list[Message]:
    """Return what was said in a turn: by the user, then by the assistant."""
    return [*json.loads(turn.said), *([json.loads(turn.answer)] if turn.answer is not None else ())]


def for_model(system: str | None, turns: Iterable[TurnRow], said: Sequence[Message], limits: Limits) -> list[Message]:
    """Return the conversation that ends with what was just said.

    The oldest questions are left out first, with all that followed them: never a result of a tool without its call. The system
    prompt and the newest question always stay.
    """
    exchanges = _exchanges([*map(messages_of, turns), said])
    last = _mended(exchanges[-1])
    kept = [last]
    messages, size = len(last), len(system or "") + _size(last)
    for exchange in map(_mended, reversed(exchanges[:-1])):
        messages, size = messages + len(exchange), size + _size(exchange)
        if messages > limits.messages or size > limits.characters:
            break
        kept.append(exchange)
    spoken = [message for exchange in reversed(kept) for message in exchange]
    return [*([{"role": "system", "content": system}] if system else ()), *_merged(spoken)]


class Folding:
    """The log of a run, folded into what is remembered of its turn."""

    def __init__(self, run: str, primary: str | None) -> None:
        self._run = run
        self._reading, self._answer = Reading(run, primary), Answer()
        self._state: TurnState = "failed"
        self._at = time.time()

    def add(self, entry: Entry) -> None:
        """Take the next entry."""
        self._at = entry.at
        match entry.event:
            case Delta():
                self._answer.add(self._reading.read(entry.event))
            case Finished():
                self._answer.add(self._reading.end(entry.event))
                self._state = "complete"
            case RunCancelled():
                self._state = "cut"
            case _:
                pass

    def settled(self) -> Settled:
        """Return what the entries made."""
        message = answer_message(self._answer, complete=self._state == "complete")
        return Settled(self._run, self._state, None if message is None else stored(message), self._at)


def answer_message(answer: Answer, *, complete: bool = True) -> dict[str, Any] | None:
    """Return an answer as a message; None where nothing was said. Of one that was cut, calls whose arguments aren't whole are left
    out: nothing could answer them."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}, **call.more}
        for _, call in sorted(answer.calls.items())
        if complete or _is_json(call.arguments)
    ]
    more: dict[str, Any] = {"reasoning_content": answer.reasoning, "refusal": answer.refusal, "tool_calls": calls}
    said = {name: value for name, value in more.items() if value}
    if not (answer.text or said or complete):
        return None
    return {"role": "assistant", "content": answer.text, **said}


def _exchanges(turns: Iterable[Sequence[Message]]) -> list[list[Message]]:
    """Return the messages in groups that begin with a user's: the results of tools belong to the question that led to them."""
    exchanges: list[list[Message]] = []
    for messages in turns:
        if not exchanges or (messages and messages[0].get("role") != "tool"):
            exchanges.append([])
        exchanges[-1] += messages
    return exchanges


def _mended(exchange: Sequence[Message]) -> list[Message]:
    """Return the messages without calls that have no result, results that have no call, and what a failed answer left empty."""
    answered = {message.get("tool_call_id") for message in exchange if message.get("role") == "tool"}
    called: set[Any] = set()
    mended: list[Message] = []
    for message in exchange:
        if message.get("role") == "tool":
            is_read = message.get("tool_call_id") in called
        else:
            ids = {call.get("id") for call in message.get("tool_calls") or ()}
            is_answered = ids <= answered
            called |= ids if is_answered else set()
            is_read = bool(message.get("content") or (ids and is_answered)) or message.get("role") != "assistant"
            if not is_answered:
                message = {key: value for key, value in message.items() if key != "tool_calls"}  # noqa: PLW2901
        if is_read:
            mended.append(message)
    return mended


def _merged(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield the messages, those of one user after another as one: most chat templates take no two in a row."""
    held: Message | None = None
    for message in messages:
        if held is None:
            held = message
        elif held.get("role") == message.get("role") == "user":
            held = {**held, "content": _together(held.get("content"), message.get("content"))}
        else:
            yield held
            held = message
    if held is not None:
        yield held


def _together(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    parts = [[{"type": "text", "text": each}] if isinstance(each, str) else each for each in (first, second)]
    return [*parts[0], *parts[1]]


def _size(messages: Iterable[Message]) -> int:
    return sum(
        len(text_of(each.get("content") or "")) + len(json.dumps(each.get("tool_calls") or "")) for each in messages
    )


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), Mapping)
    except ValueError:
        return False
