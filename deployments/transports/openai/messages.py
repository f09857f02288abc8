"""The messages and tools of a chat completion, checked: roles, contents, calls, and each result of a tool after its call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, cast

from deployments.conversations.parameters import shown
from deployments.conversations.request import Message, check_turns
from graphs.errors import InvalidInput

ROLES = ("system", "developer", "user", "assistant", "tool")
TEXT_PART = '{"type": "text", "text": "Hello"}'
CALL = '{"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}'
TOOL = '{"type": "function", "function": {"name": "look_up", "description": "…", "parameters": {…}}}'

MESSAGES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"enum": list(ROLES)},
            "content": {
                "description": "text, or parts; an assistant may have none beside its tool_calls",
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["type"],
                            "properties": {"type": {"type": "string"}, "text": {"type": "string"}},
                        },
                    },
                    {"type": "null"},
                ],
            },
            "name": {"type": ["string", "null"]},
            "reasoning_content": {"type": ["string", "null"]},
            "refusal": {"type": ["string", "null"]},
            "tool_calls": {"type": ["array", "null"], "items": {"type": "object"}},
            "tool_call_id": {"type": ["string", "null"], "description": "which call a tool's message answers"},
        },
    },
}
"""What messages are, in JSON Schema."""
TOOLS: dict[str, Any] = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"const": "function"}, "function": {"type": "object"}},
    },
}


def check_messages(said: Any) -> list[Message]:
    """Return the messages as workflows and models read them; raise InvalidInput that names what is wrong."""
    turns = _list(said, "messages", '[{"role": "user", "content": "Hello"}]')
    if not turns:
        _wrong("messages", "at least one message", "an empty list", '[{"role": "user", "content": "Hello"}]')
    checked = [_turn(turn, f"messages[{index}]") for index, turn in enumerate(turns)]
    check_turns(checked)
    return checked


def check_tools(said: Any) -> list[Mapping[str, Any]] | None:
    """Return the tools."""
    if said is None:
        return None
    tools = _list(said, "tools", f"[{TOOL}]")
    for index, tool in enumerate(tools):
        place = f"tools[{index}]"
        fields = _object(tool, place, TOOL)
        kind = _text(fields, "type", place, '"function"')
        if kind == "function":
            function = _object(fields.get("function"), f"{place}.function", '{"name": "look_up", "parameters": {…}}')
            _text(function, "name", f"{place}.function", '"look_up"')
    return tools


def _turn(said: Any, place: str) -> Message:
    turn = dict(_object(said, place, '{"role": "user", "content": "Hello"}'))
    role = _text(turn, "role", place, '"user"')
    if role == "function":
        _refuse(
            f"{place}.role",
            "the role 'function' was replaced; write the role 'tool', and the call's id as tool_call_id",
        )
    if role not in ROLES:
        _wrong(f"{place}.role", f"one of {', '.join(ROLES)}", shown(role), '"user"')
    if turn.get("function_call") is not None:
        _refuse(f"{place}.function_call", "it was replaced; write tool_calls")
    calls = _calls(turn.get("tool_calls"), f"{place}.tool_calls", role)
    _check_content(turn, role, place, needed=not calls)
    for name in ("name", "reasoning_content", "refusal"):
        if turn.get(name) is not None:
            _text(turn, name, place, '"…"')
    if role == "tool":
        _text(turn, "tool_call_id", place, 'the id of the call that it answers: "call_1"')
    # Clients send answers back as their SDKs hold them, with null for what wasn't there.
    kept = {name: value for name, value in turn.items() if value not in (None, []) or name == "content"}
    if role == "assistant" and kept.get("content") is None and not calls and "refusal" not in kept:
        kept["content"] = ""  # it was cut while it thought
    return {**kept, "role": "system"} if role == "developer" else kept


def _check_content(turn: Mapping[str, Any], role: str, place: str, *, needed: bool) -> None:
    place = f"{place}.content"
    match turn.get("content"):
        case str():
            pass
        case None:
            if needed and not (role == "assistant" and (turn.get("refusal") or turn.get("reasoning_content"))):
                _wrong(place, "text or a list of parts", "nothing", '"Hello"')
        case list() as parts:
            for index, part in enumerate(cast("list[Any]", parts)):
                _check_part(part, f"{place}[{index}]")
        case other:
            _wrong(place, "text or a list of parts", shown(other), '"Hello"')


def _check_part(said: Any, place: str) -> None:
    part = _object(said, place, TEXT_PART)
    if _text(part, "type", place, '"text"') == "text":
        _text(part, "text", place, '"Hello"')


def _calls(said: Any, place: str, role: str) -> list[Any]:
    if said is None:
        return []
    calls = _list(said, place, f"[{CALL}]")
    if calls and role != "assistant":
        _refuse(place, f"only the assistant calls tools, and this message is the {role}'s; leave it out")
    for index, call in enumerate(calls):
        at = f"{place}[{index}]"
        fields = _object(call, at, CALL)
        if fields.get("type", "function") != "function":
            _wrong(f"{at}.type", "a call of a function", shown(fields["type"]), '"function"')
        _text(fields, "id", at, '"call_1"')
        function = _object(fields.get("function"), f"{at}.function", '{"name": "look_up", "arguments": "{}"}')
        _text(function, "name", f"{at}.function", '"look_up"')
        _text(function, "arguments", f"{at}.function", 'JSON as text: "{\\"city\\": \\"Seoul\\"}"')
    return calls


def _object(value: Any, place: str, example: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _wrong(place, "an object", shown(value), example)
    return cast("Mapping[str, Any]", value)


def _list(value: Any, place: str, example: str) -> list[Any]:
    if not isinstance(value, list):
        _wrong(place, "a list", shown(value), example)
    return cast("list[Any]", value)


def _text(fields: Mapping[str, Any], name: str, place: str, example: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        _wrong(f"{place}.{name}", "text", "nothing" if name not in fields else shown(value), example)
    return value


def _wrong(place: str, expected: str, got: str, example: str) -> NoReturn:
    raise InvalidInput(f"{place}: expected {expected}, got {got}; write {example}", field=place)


def _refuse(place: str, why: str) -> NoReturn:
    raise InvalidInput(f"{place}: {why}", field=place)
