"""A request's `tools` and `tool_choice` -> which tools the model is told of, what its answer must be, who reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.engines.grammar.dialect import Unenforceable, enforceable, within
from deployments.engines.grammar.guides import JUDGE
from deployments.engines.tool_calls.harmony import HarmonyParser
from deployments.engines.tool_calls.markup import MarkupParser, PythonParser
from deployments.engines.tool_calls.parser import CallParser, NamedCallParser
from deployments.engines.tool_calls.pieces import AnswerParser
from deployments.engines.tool_calls.styles import REQUIRED, Style
from graphs.errors import InvalidInput
from graphs.suggest import closest

Mode = Literal["none", "auto", "required", "named"]
MODES = ("none", "auto", "required")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

PUT_TOGETHER = ("$ref", "allOf", "anyOf", "oneOf")
"""Beside these a schema can't say that its own properties are all there are."""

_WRITE_TOOL = "write {type: function, function: {name: …, description: …, parameters: {…}}}"
_WRITE_CHOICE = "write none, auto, required, or {type: function, function: {name: …}}"


@dataclass(frozen=True, slots=True)
class ToolUse:
    mode: Mode
    tools: tuple[Mapping[str, Any], ...] = ()
    """What the chat template is given: none where none may be called."""
    name: str | None = None
    """The one that must be called."""
    demanded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Where a call is demanded: the arguments of each tool that may be called."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """Return what the answer must be where a call is demanded: the arguments of the one, or a list of calls."""
        if self.name is not None:
            return self.demanded[self.name]
        return _list_of_calls(self.demanded) if self.mode == "required" else None

    async def judge(self) -> None:
        """Refuse a demanded call whose arguments no grammar can be made of, whichever the engine."""
        for index, tool in enumerate(self.tools):
            if (name := _name(tool)) in self.demanded:
                try:
                    await JUDGE.judge(self.demanded[name])
                except Unenforceable as cause:
                    raise _unenforceable(index, name, cause) from None

    def tags(self, style: Style) -> tuple[str, ...]:
        """Return what marks a call in the answer; among special tokens, these alone are of use."""
        return style.tags if self.mode == "auto" or (self.mode == "none" and style.wraps) else ()

    def parser(self, style: Style) -> AnswerParser | None:
        """Return what reads the answer; None when all of it is content."""
        match self.mode:
            case "none":
                return call_parser(style, {}) if style.wraps else None
            case "named":
                assert self.name is not None
                return NamedCallParser(self.name, style)
            case "required":
                return CallParser(REQUIRED, {}, style.new_id)
            case "auto":
                return call_parser(style, {_name(tool): _schema(tool) for tool in self.tools})


def call_parser(style: Style, tools: Mapping[str, Mapping[str, Any]]) -> AnswerParser:
    """Return what reads answers in this style; `tools` are those of the request, with the schemas of their arguments."""
    match style.notation:
        case "json":
            return CallParser(style, tools, style.new_id)
        case "harmony":
            return HarmonyParser(style, tools, style.new_id)
        case "python":
            return PythonParser(style, tools, style.new_id)
        case _:
            return MarkupParser(style, tools, style.new_id)


def tool_use(tools: Sequence[Any] | None, tool_choice: Any) -> ToolUse:
    """Judge both, and return how the request uses tools."""
    names = _names(tools or ())
    mode, name = _mode(tool_choice, names)
    told = () if mode == "none" else tuple(tools or ())
    demanded: dict[str, Mapping[str, Any]] = {}
    if mode in ("named", "required"):
        for index, tool in enumerate(told):
            if name in (None, _name(tool)):
                demanded[_name(tool)] = _parameters(tool, index)
    return ToolUse(mode, told, name, demanded)


def _names(tools: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for index, tool in enumerate(tools):
        field = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or tool.get("type", "function") != "function":
            raise InvalidInput(f"{field}: expected a function; {_WRITE_TOOL}", field=field)
        name = function.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise InvalidInput(
                f"{field}: expected a name of up to 64 letters, digits, '_', '-' and '.', got {name!r}",
                field=f"{field}.function.name",
            )
        if name in names:
            raise InvalidInput(f"{field}: there is a tool '{name}' before it; give each a name of its own", field=field)
        if not isinstance(function.get("parameters") or {}, Mapping):
            raise InvalidInput(
                f"{field}: expected the JSON Schema of an object as parameters; {_WRITE_TOOL}",
                field=f"{field}.function.parameters",
            )
        names.append(name)
    return names


def _mode(tool_choice: Any, names: Sequence[str]) -> tuple[Mode, str | None]:
    match tool_choice:
        case None | "auto":
            return ("auto" if names else "none"), None
        case "none":
            return "none", None
        case "required":
            if not names:
                raise InvalidInput("tool_choice: a call is required, but there are no tools", field="tool_choice")
            return "required", None
        case {"function": {"name": str(name)}}:
            if name not in names:
                known = f"; the tools are {', '.join(names)}" if names else "; there are no tools"
                raise InvalidInput(f"tool_choice: there is no tool '{name}'{known}", field="tool_choice")
            return "named", name
        case _:
            near = closest(tool_choice, MODES) if isinstance(tool_choice, str) else None
            hint = f"did you mean '{near}'?" if near else _WRITE_CHOICE
            raise InvalidInput(
                f"tool_choice: expected a mode or a function, got {tool_choice!r}; {hint}", field="tool_choice"
            )


def _name(tool: Mapping[str, Any]) -> str:
    return tool["function"]["name"]


def _schema(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool["function"].get("parameters") or {}


def _parameters(tool: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the schema of a tool's arguments: an object, with what it names only, unless it says otherwise."""
    try:
        schema = enforceable(tool["function"].get("parameters") or {"properties": {}})
    except Unenforceable as cause:
        raise _unenforceable(index, _name(tool), cause) from None
    types = schema.get("type", "object")
    if types != "object" and (not isinstance(types, list) or "object" not in types):
        at = f"tools[{index}]"
        raise InvalidInput(
            f"{at}: expected the JSON Schema of an object as parameters, got one of type {types!r}; {_WRITE_TOOL}",
            field=f"{at}.function.parameters",
        )
    if "$ref" in schema:
        return schema  # a word beside it, and a reference in a circle is refused
    named_only = "properties" in schema or "type" not in schema
    closed = {"additionalProperties": False} if named_only and not any(key in schema for key in PUT_TOGETHER) else {}
    return {**closed, **schema, "type": "object"}


def _unenforceable(index: int, name: str, cause: Unenforceable) -> InvalidInput:
    at = f"tools[{index}]"
    return InvalidInput(
        f"{at}: a call of '{name}' can't be enforced: {cause}; simplify its parameters, or write tool_choice: auto",
        field=f"{at}.function.parameters",
    )


def _list_of_calls(demanded: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{name}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name in demanded
    ]
    definitions = {name: _moved(schema, f"#/$defs/{name}") for name, schema in demanded.items()}
    return {"type": "array", "minItems": 1, "items": {"anyOf": calls}, "$defs": definitions}


def _moved(schema: Mapping[str, Any], root: str) -> dict[str, Any]:
    """Return a tool's schema for a place one level down: references to its own root, by its id too, lead there."""
    own = next((id.rstrip("#") for key in ("$id", "id") if isinstance(id := schema.get(key), str)), "")

    def moved(each: Any, _: str = "") -> Any:
        if not isinstance(each, Mapping) or (each is not schema and "$id" in each):
            return each
        inner = within(each, moved)
        reference = inner.get("$ref")
        if isinstance(reference, str):
            local = reference.removeprefix(own)
            inner["$ref"] = root + local[1:] if local == "#" or local.startswith("#/") else reference
        return inner

    return {key: value for key, value in moved(schema).items() if key not in ("$id", "id", "$schema")}
