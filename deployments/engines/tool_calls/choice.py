"""A request's `tools` and `tool_choice` -> which tools the model is told of, what its answer must be, who reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployments.engines.tool_calls.parser import CallParser, NamedCallParser, Parser
from deployments.engines.tool_calls.styles import REQUIRED, Style
from graphs.errors import InvalidInput
from graphs.suggest import closest

Mode = Literal["none", "auto", "required", "named"]
MODES = ("none", "auto", "required")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_WRITE_TOOL = "write {type: function, function: {name: …, description: …, parameters: {…}}}"
_WRITE_CHOICE = "write none, auto, required, or {type: function, function: {name: …}}"


@dataclass(frozen=True, slots=True)
class ToolUse:
    mode: Mode
    tools: tuple[Mapping[str, Any], ...] = ()
    """What the chat template is given: none where none may be called."""
    name: str | None = None
    """The one that must be called."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """Return what the answer must be where a call is demanded: the arguments of the one, or a list of calls."""
        match self.mode:
            case "named":
                return next(_parameters(tool) for tool in self.tools if _name(tool) == self.name)
            case "required":
                return _list_of_calls(self.tools)
            case _:
                return None

    def parser(self, style: Style, new_id: Callable[[], str] | None = None) -> Parser | None:
        """Return who reads the answer; None when all of it is content."""
        new_id = new_id or style.new_id
        match self.mode:
            case "none":
                return None
            case "named":
                assert self.name is not None
                return NamedCallParser(self.name, new_id)
            case "required":
                return CallParser(REQUIRED, (), new_id)
            case "auto":
                return CallParser(style, frozenset(map(_name, self.tools)), new_id)


def tool_use(tools: Sequence[Any] | None, tool_choice: Any) -> ToolUse:
    """Judge both, and return how the request uses tools."""
    names = _names(tools or ())
    mode, name = _mode(tool_choice, names)
    return ToolUse(mode, () if mode == "none" else tuple(tools or ()), name)


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


def _parameters(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a tool's arguments: an object, with what it names only, unless it says otherwise."""
    schema: Mapping[str, Any] = tool["function"].get("parameters") or {"properties": {}}
    if "type" in schema and "properties" not in schema:
        return dict(schema)
    return {"type": "object", "additionalProperties": False, **schema}


def _list_of_calls(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": _name(tool)}, "arguments": {"$ref": f"#/$defs/{_name(tool)}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    # Each tool's schema keeps its own references: those to its root must now lead one level down.
    definitions = {_name(tool): _moved(_parameters(tool), f"#/$defs/{_name(tool)}") for tool in tools}
    return {"type": "array", "minItems": 1, "items": {"anyOf": calls}, "$defs": definitions}


def _moved(schema: Any, root: str) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: root + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, root)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_moved(each, root) for each in schema]
    return schema
