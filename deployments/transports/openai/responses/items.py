"""The items of a response's input, checked and in full; and items <-> the messages that workflows and models read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from deployments.conversations.parameters import shown
from deployments.transports.openai.responses.encoder import item_id
from graphs.errors import InvalidInput

Item = dict[str, Any]
"""An item as the API shows it, but for the id that one of an input may lack: `with_ids` gives it one."""

ROLES = ("user", "assistant", "system", "developer")
MESSAGE = '{"role": "user", "content": "Hello"}'
PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
"""What leads the id of an item, by its type. The types are those that an input may have."""
INPUT: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "type": {"enum": [*PREFIXES, "item_reference"]},
                    "role": {"enum": list(ROLES)},
                    "content": {"type": ["string", "array"]},
                    "call_id": {"type": "string"},
                },
            },
        },
        {"type": "null"},
    ]
}
"""What an input is, in JSON Schema."""
NO_FILES = "this server keeps no files; send the data itself"


def checked(said: Any) -> list[Item]:
    """Return the items of an input in full; raise InvalidInput that names what is wrong. References are left as they are."""
    if said is None:
        return []
    if isinstance(said, str):
        return [_message({"role": "user", "content": said}, "input")]
    if not isinstance(said, list):
        raise _wrong("input", "text or a list of items", shown(said), f"[{MESSAGE}]")
    return [_item(item, f"input[{index}]") for index, item in enumerate(cast("list[Any]", said))]


def check_calls(before: Iterable[Item], items: Sequence[Item]) -> None:
    """Refuse the output of a function without the call that it answers, among the items before it."""
    called = {item["call_id"] for item in before if item["type"] == "function_call"}
    for index, item in enumerate(items):
        if item["type"] == "function_call":
            called.add(item["call_id"])
        elif item["type"] == "function_call_output" and item["call_id"] not in called:
            raise InvalidInput(
                f"input[{index}]: there is no call '{item['call_id']}' before this output of a function; send the function_call "
                "with that call_id first, or name the response that made it as previous_response_id",
                field=f"input[{index}].call_id",
            )


def with_ids(items: Sequence[Item], run: str) -> list[Item]:
    """Return the items of a response's input, each with an id: the client's, or one that is made of the run's."""
    return [
        {**item, "id": item.get("id") or item_id(PREFIXES[item["type"]], run, f"in{index}")}
        for index, item in enumerate(items)
    ]


def messages_of(items: Iterable[Item]) -> list[tuple[int, dict[str, Any]]]:
    """Return items as the messages of a chat, each with the index of its first item.

    What the assistant thinks, says and calls in one turn is one message.
    """
    messages: list[tuple[int, dict[str, Any]]] = []
    turn: dict[str, Any] | None = None
    for index, item in enumerate(items):
        match item["type"]:
            case "message" if item["role"] != "assistant":
                messages.append((index, {"role": item["role"], "content": _chat_content(item["content"])}))
                turn = None
            case "function_call_output":
                output = item["output"]
                content = output if isinstance(output, str) else _chat_content(output)
                messages.append((index, {"role": "tool", "tool_call_id": item["call_id"], "content": content}))
                turn = None
            case "reasoning" if not _thought(item):
                pass  # only a vendor that encrypted it can read it
            case _:
                if turn is None or _begins_another(turn, item):
                    turn = {"role": "assistant", "content": ""}
                    messages.append((index, turn))
                _say(turn, item)
    return messages


def _begins_another(turn: Mapping[str, Any], item: Item) -> bool:
    """Return whether an item of the assistant's is of another message: one that has said all and called nothing is over."""
    return item["type"] != "function_call" and bool(turn["content"]) and "tool_calls" not in turn


def _say(turn: dict[str, Any], item: Item) -> None:
    match item["type"]:
        case "reasoning":
            turn["reasoning_content"] = turn.get("reasoning_content", "") + _thought(item)
        case "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            turn.setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": function})
        case _:
            turn["content"] += "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])


def _thought(item: Item) -> str:
    return "".join(part["text"] for part in item["content"] or item["summary"])


def _chat_content(parts: Sequence[Mapping[str, Any]]) -> Any:
    """Return the parts of a content as chat completions write them; one text as that."""
    match parts:
        case [{"type": "input_text", "text": text}]:
            return text
        case _:
            return [_chat_part(part) for part in parts]


def _chat_part(part: Mapping[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "input_image":
            detail = {"detail": part["detail"]} if "detail" in part else {}
            return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
        case "input_file":
            return {"type": "file", "file": {name: part[name] for name in ("filename", "file_data") if name in part}}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case _:
            return {"type": "text", "text": part["text"]}


# --- checking --------------------------------------------------------------------------------------------------------


def _item(said: Any, place: str) -> Item:
    item = _object(said, place, MESSAGE)
    type = item.get("type")
    if type is None:
        type = "message" if "role" in item else "item_reference" if set(item) == {"id"} else None
    match type:
        case "message":
            return _message(item, place)
        case "function_call":
            texts = {name: _text(item, name, place) for name in ("call_id", "name", "arguments")}
            return {**_head(item, "function_call", place), **texts}
        case "function_call_output":
            output = _output(item.get("output"), f"{place}.output")
            return {**_head(item, type, place), "call_id": _text(item, "call_id", place), "output": output}
        case "reasoning":
            return _reasoning(item, place)
        case "item_reference":
            return {"type": "item_reference", "id": _text(item, "id", place)}
        case None:
            raise _wrong(f"{place}.type", "the type of an item", "nothing", '"message"')
        case str():
            known = f"{', '.join(PREFIXES)} and item_reference"
            raise InvalidInput(
                f"{place}: this server reads no items of the type {shown(type)}; the types are {known}",
                field=f"{place}.type",
            )
        case _:
            raise _wrong(f"{place}.type", "text", shown(type), '"message"')


def _head(item: Mapping[str, Any], type: str, place: str) -> Item:
    id = {} if item.get("id") is None else {"id": _text(item, "id", place)}
    return {**id, "type": type, "status": "completed"}


def _message(item: Mapping[str, Any], place: str) -> Item:
    role = _text(item, "role", place)
    if role not in ROLES:
        raise _wrong(f"{place}.role", f"one of {', '.join(ROLES)}", shown(role), '"user"')
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "output_text" if role == "assistant" else "input_text", "text": content}]
    if not isinstance(content, list):
        raise _wrong(f"{place}.content", "text or a list of parts", shown(content), '"Hello"')
    read = _said_part if role == "assistant" else _input_part
    parts = [read(part, f"{place}.content[{index}]") for index, part in enumerate(cast("list[Any]", content))]
    return {**_head(item, "message", place), "role": role, "content": parts}


def _said_part(said: Any, place: str) -> Mapping[str, Any]:
    """Return a part of what the assistant has said."""
    part = _object(said, place, '{"type": "output_text", "text": "Hello"}')
    match part.get("type"):
        case "output_text" | "input_text" | "text":
            return {"type": "output_text", "text": _text(part, "text", place), "annotations": []}
        case "refusal":
            return {"type": "refusal", "refusal": _text(part, "refusal", place)}
        case type:
            raise _wrong(
                f"{place}.type", "output_text or refusal, for the assistant says text", shown(type), '"output_text"'
            )


def _input_part(said: Any, place: str) -> Mapping[str, Any]:
    part = _object(said, place, '{"type": "input_text", "text": "Hello"}')
    match part.get("type"):
        case "input_text" | "text" | "output_text":
            return {"type": "input_text", "text": _text(part, "text", place)}
        case "input_image":
            _no_file(part, place, "image_url")
            detail = part.get("detail") or "auto"
            return {"type": "input_image", "image_url": _text(part, "image_url", place), "detail": detail}
        case "input_file":
            _no_file(part, place, "file_data")
            named = {} if part.get("filename") is None else {"filename": _text(part, "filename", place)}
            return {"type": "input_file", "file_data": _text(part, "file_data", place), **named}
        case "input_audio":
            audio = _object(part.get("input_audio"), f"{place}.input_audio", '{"data": "…", "format": "wav"}')
            return {"type": "input_audio", "input_audio": dict(audio)}
        case type:
            raise _wrong(
                f"{place}.type", "input_text, input_image, input_file or input_audio", shown(type), '"input_text"'
            )


def _no_file(part: Mapping[str, Any], place: str, write: str) -> None:
    for name in ("file_id", "file_url"):
        if part.get(name) is not None:
            raise InvalidInput(f"{place}.{name}: {NO_FILES}, as {write}", field=f"{place}.{name}")


def _output(said: Any, place: str) -> Any:
    if isinstance(said, list):
        return [_input_part(part, f"{place}[{index}]") for index, part in enumerate(cast("list[Any]", said))]
    if not isinstance(said, str):
        raise _wrong(place, "text or a list of parts", shown(said), '"4 °C"')
    return said


def _reasoning(item: Mapping[str, Any], place: str) -> Item:
    summary = list(_texts(item.get("summary"), f"{place}.summary", "summary_text"))
    content = list(_texts(item.get("content"), f"{place}.content", "reasoning_text"))
    return {**_head(item, "reasoning", place), "summary": summary, "content": content}


def _texts(said: Any, place: str, type: str) -> Iterator[Mapping[str, Any]]:
    if said is not None and not isinstance(said, list):
        raise _wrong(place, "a list", shown(said), "[]")
    for index, part in enumerate(cast("list[Any]", said or [])):
        at = f"{place}[{index}]"
        fields = _object(part, at, f'{{"type": "{type}", "text": "…"}}')
        yield {"type": type, "text": _text(fields, "text", at)}


def _object(value: Any, place: str, example: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(place, "an object", shown(value), example)
    return cast("Mapping[str, Any]", value)


def _text(fields: Mapping[str, Any], name: str, place: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        got = "nothing" if name not in fields else shown(value)
        raise InvalidInput(f"{place}.{name}: expected text, got {got}", field=f"{place}.{name}")
    return value


def _wrong(place: str, expected: str, got: str, example: str) -> InvalidInput:
    return InvalidInput(f"{place}: expected {expected}, got {got}; write {example}", field=place)
