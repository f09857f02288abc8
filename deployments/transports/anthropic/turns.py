"""The turns of a request to `/v1/messages`, text or content blocks -> messages as OpenAI's chat completions write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

from deployments.asgi.json_values import json_text, validated
from graphs.errors import InvalidInput
from graphs.language import kind_of
from graphs.suggest import did_you_mean

M = TypeVar("M", bound=BaseModel)
Part = Mapping[str, Any]

ROLES = ("user", "assistant", "system")
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "user": ("text", "image", "document", "search_result", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
    "tool_result": ("text", "image", "document", "search_result"),
}
"""The blocks that each role, and the result of a tool, may have."""
FAILED = "Error: "
"""Leads the result of a tool that failed: other APIs have no field for it."""


def _text_or_blocks(value: Any) -> Any:
    if isinstance(value, str | list):
        return value  # pyright: ignore[reportUnknownVariableType]
    raise ValueError(f"expected text, or a list of blocks, got {kind_of(value)}; write a text")


TextOrBlocks = Annotated[str | list[Any], BeforeValidator(_text_or_blocks)]


class _Read(BaseModel):
    """What is read of an object; its other keys say nothing here (`cache_control`, `citations`, …)."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)


class Turn(_Read):
    role: str
    content: TextOrBlocks


class _Text(_Read):
    text: str


class _Thinking(_Read):
    thinking: str


class _ToolUse(_Read):
    id: str
    name: str
    input: dict[str, Any]


class _ToolResult(_Read):
    tool_use_id: str
    content: TextOrBlocks = ""
    is_error: bool | None = None


class _Source(_Read):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: TextOrBlocks | None = None


class _Image(_Read):
    source: dict[str, Any]


class _Document(_Read):
    source: dict[str, Any]
    title: str | None = None


class _SearchResult(_Read):
    title: str
    source: str
    content: list[Any]


class Placed(NamedTuple):
    """A message, and where in the request it stands."""

    message: dict[str, Any]
    place: str


def system_message(system: str | list[Any] | None) -> Iterator[Placed]:
    """Yield the message that the field `system` makes."""
    if system is not None and (content := _content(system, "system", "system")):
        yield Placed({"role": "system", "content": content}, "system")


def messages_of(turns: Sequence[Any]) -> Iterator[Placed]:
    """Yield the messages of all turns. A result of a tool becomes a message of its own, after the call that it answers."""
    called: set[str] = set()
    for index, turn in enumerate(turns):
        where = f"messages[{index}]"
        said = checked(Turn, turn, where)
        if said.role not in ROLES:
            known = "the roles are user, assistant and system"
            raise InvalidInput(
                f"{where}: there is no role '{said.role}'; {did_you_mean(said.role, ROLES, known)}",
                field=f"{where}.role",
            )
        blocks = said.content if isinstance(said.content, list) else [{"type": "text", "text": said.content}]
        if said.role == "assistant":
            yield Placed(_assistant_message(blocks, where, called), where)
        else:
            yield from _messages(said.role, blocks, where, called)


def _messages(role: str, blocks: list[Any], where: str, called: set[str]) -> Iterator[Placed]:
    """Yield the messages of one turn, in the order of its blocks."""
    parts: list[Part] = []
    for block, place in _each(blocks, where, role):
        if block["type"] != "tool_result":
            parts += _parts(block, place)
            continue
        if parts:
            yield Placed({"role": role, "content": _simple(parts)}, where)
            parts = []
        result = checked(_ToolResult, block, place)
        if result.tool_use_id not in called:
            raise InvalidInput(
                f"{place}: there is no tool_use '{result.tool_use_id}' before this result; send the assistant's message with "
                "that block first",
                field=f"{place}.tool_use_id",
            )
        content = _content(result.content, f"{place}.content", "tool_result")
        content = _marked_failed(content) if result.is_error else content
        yield Placed({"role": "tool", "tool_call_id": result.tool_use_id, "content": content}, place)
    if parts or not blocks:
        yield Placed({"role": role, "content": _simple(parts)}, where)


def _assistant_message(blocks: list[Any], where: str, called: set[str]) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, place in _each(blocks, where, "assistant"):
        match block["type"]:
            case "text":
                texts.append(checked(_Text, block, place).text)
            case "thinking":
                thoughts.append(checked(_Thinking, block, place).thinking)
            case "tool_use":
                call = checked(_ToolUse, block, place)
                called.add(call.id)
                function = {"name": call.name, "arguments": json_text(call.input)}
                calls.append({"id": call.id, "type": "function", "function": function})
            case _:  # redacted_thinking, which only Anthropic's models can read
                pass
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _each(blocks: list[Any], where: str, holder: str, name: str = ".content") -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each block and its place; refuse those that this holder can't have."""
    known = BLOCKS[holder]
    for index, block in enumerate(blocks):
        place = f"{where}{name}[{index}]"
        if not isinstance(block, dict):
            raise _unexpected(place, f"a block, {{type: {known[0]}, …}}", block)
        kind = block.get("type")  # pyright: ignore[reportUnknownMemberType]
        if not isinstance(kind, str):
            raise InvalidInput(f"{place}: 'type' is missing; write one of {', '.join(known)}", field=f"{place}.type")
        if kind not in known:
            what = "the result of a tool" if holder == "tool_result" else f"a message of the {holder}"
            raise InvalidInput(
                f"{place}: {what} can't hold a block of type '{kind}' here; the types are {', '.join(known)}",
                field=f"{place}.type",
            )
        yield block, place


def _content(content: str | list[Any], where: str, holder: str) -> str | list[Part]:
    if isinstance(content, str):
        return content
    return _simple([part for block, place in _each(content, where, holder, "") for part in _parts(block, place)])


def _simple(parts: list[Part]) -> str | list[Part]:
    """Return the parts; one text alone as text, which every chat template reads."""
    match parts:
        case []:
            return ""
        case [{"type": "text", "text": str(text)}]:
            return text
        case _:
            return parts


def _marked_failed(content: str | list[Part]) -> str | list[Part]:
    if isinstance(content, str):
        return FAILED + content
    return [{"type": "text", "text": FAILED.strip()}, *content]


def _parts(block: dict[str, Any], where: str) -> Iterator[Part]:
    """Yield the parts of OpenAI's that a block makes."""
    match block["type"]:
        case "text":
            yield _text_part(checked(_Text, block, where).text)
        case "image":
            source = _source(checked(_Image, block, where).source, where, ("base64", "url"))
            yield {"type": "image_url", "image_url": {"url": _url(source, f"{where}.source", "image/png")}}
        case "document":
            yield from _document(checked(_Document, block, where), where)
        case _:  # search_result
            found = checked(_SearchResult, block, where)
            yield _text_part(f"{found.title}\n{found.source}")
            for each, place in _each(found.content, where, "system"):
                yield from _parts(each, place)


def _document(document: _Document, where: str) -> Iterator[Part]:
    source = _source(document.source, where, ("base64", "url", "text", "content"))
    if source.type == "url":
        yield {"type": "file", "file": {"file_url": _required(source.url, f"{where}.source.url")}}
        return
    if source.type == "base64":
        name = document.title or "document.pdf"
        data = _url(source, f"{where}.source", "application/pdf")
        yield {"type": "file", "file": {"filename": name, "file_data": data}}
        return
    if document.title:
        yield _text_part(document.title)
    if source.type == "text":
        yield _text_part(_required(source.data, f"{where}.source.data"))
        return
    content = _required(source.content, f"{where}.source.content")
    said = _content(content, f"{where}.source.content", "tool_result")
    yield from [_text_part(said)] if isinstance(said, str) else said


def _source(source: dict[str, Any], where: str, known: Sequence[str]) -> _Source:
    said = checked(_Source, source, f"{where}.source")
    if said.type not in known:
        why = "no files are kept here" if said.type == "file" else f"there is no source '{said.type}'"
        raise InvalidInput(
            f"{where}.source: {why}; send the data itself, as one of {', '.join(known)}", field=f"{where}.source.type"
        )
    return said


def _url(source: _Source, where: str, media_type: str) -> str:
    if source.type == "url":
        return _required(source.url, f"{where}.url")
    return f"data:{source.media_type or media_type};base64,{_required(source.data, f'{where}.data')}"


def _text_part(text: str) -> Part:
    return {"type": "text", "text": text}


V = TypeVar("V")


def _required(value: V | None, where: str) -> V:
    if value is None:
        raise InvalidInput(f"{where}: it is missing", field=where)
    return value


def checked(model: type[M], value: Any, where: str) -> M:
    """Return the object as what it should be; say where in the request it stands if it isn't."""
    if not isinstance(value, dict):
        raise _unexpected(where, "an object", value)
    try:
        return validated(model, value)  # pyright: ignore[reportUnknownArgumentType]
    except InvalidInput as wrong:
        raise InvalidInput(f"{where}: {wrong.message}", field=f"{where}.{wrong.details['field']}") from None


def _unexpected(where: str, expected: str, value: Any) -> InvalidInput:
    return InvalidInput(f"{where}: expected {expected}, got {kind_of(value)}", field=where)
