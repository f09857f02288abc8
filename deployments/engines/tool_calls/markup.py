"""Calls whose arguments are not JSON: each is read once it is complete, and given whole, its arguments as JSON."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from deployments.engines.tool_calls.base import Tools
from deployments.engines.tool_calls.parser import CallParser
from deployments.engines.tool_calls.reader import Wait
from deployments.engines.tool_calls.styles import DSML
from deployments.engines.tool_calls.values import pythonic, shorthand, typed

Call = tuple[str, Mapping[str, Any]]
Read = Callable[[str, Tools], list[Call] | None]
"""What stands between the tags -> its calls; None for text that is none, or not all of one."""

_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_KNOWN = "([A-Za-z0-9_.:-]+)"

_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>(.*?)</function>\s*(?=<function=|\Z)", re.DOTALL)
# A value ends where its closing tag is followed by more of the call; some models forget that tag.
_PARAMETER = re.compile(
    r"\s*<parameter=([^>\n]+)>\n?(.*?)(?:\n?</parameter>\s*(?=<parameter=|\Z)|\n(?=<parameter=|\Z))", re.DOTALL
)
_GLM_CALL = re.compile(rf"\s*{_KNOWN}\s*(.*)", re.DOTALL)
_GLM_ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*(?=<arg_key>|\Z)", re.DOTALL)
_INVOKE = re.compile(rf'<{DSML} ?invoke name="([^"]+)"\s*>?\s*(.*)', re.DOTALL)
_DSML_ARGUMENT = re.compile(
    rf'<{DSML} ?parameter name="([^"]+)" string="(true|false)">(.*?)</{DSML} ?parameter>\s*(?=<{DSML} ?parameter|\Z)',
    re.DOTALL,
)
_KIMI_CALL = re.compile(r'<\|open\|>call tool="([^"]+)"[^<]*<\|sep\|>(.*)', re.DOTALL)
_KIMI_ARGUMENT = re.compile(
    r'<\|open\|>argument key="([^"]*)" type="(\w+)"<\|sep\|>(.*?)<\|close\|>argument<\|sep\|>\s*(?=<\|open\|>argument|\Z)',
    re.DOTALL,
)
_GEMMA_CALL = re.compile(rf"\s*call:\s*{_KNOWN}\s*(\{{.*\}})\s*", re.DOTALL)


class MarkupParser(CallParser):
    """Calls in a notation of their own, or in JSON behind the same tags."""

    def _calls(self, *, tagged: bool) -> Wait[None]:
        reader, style = self._reader, self._style
        behind = reader.at
        start = behind - len(self._tag) if self._tag in style.inside else behind
        yield from reader.skip_space()
        first = yield from reader.peek()
        if style.notation == "qwen" and first in ("{", "["):
            yield from super()._calls(tagged=tagged)
            return
        read = NOTATIONS[style.notation]
        likely = yield from self._begins()
        while likely:
            end = yield from reader.find(style.closes)
            calls = read(reader.text[start : reader.at], self._tools)
            if calls:
                reader.at += len(end)
                reader.forget()
                for name, arguments in calls:
                    self._start(name)
                    self._give_arguments(json.dumps(arguments, ensure_ascii=False))
                return
            if not end:
                break
            reader.at += len(end)
        reader.at = behind
        self._give_content()

    def _begins(self) -> Wait[bool]:
        """Return whether what stands here may be a call, so that text about calls isn't held for long."""
        reader = self._reader
        match self._style.notation:
            case "qwen" if self._tag in self._style.inside:
                return (yield from reader.run(_NAME)) in self._tools
            case "qwen":
                return bool((yield from reader.word(("<function=",))))
            case "gemma":
                return bool((yield from reader.word(("call:",))))
            case "dsml":
                return bool((yield from reader.word(("name=",))))
            case "kimi":
                return bool((yield from reader.word(("tool=",))))
            case _:
                return bool((yield from reader.run(_NAME)))


class PythonParser(CallParser):
    """A list of calls as Python writes them, or calls as JSON."""

    def _calls(self, *, tagged: bool) -> Wait[None]:
        reader = self._reader
        start = reader.at
        yield from reader.skip_space()
        begun = reader.at
        if not (yield from reader.word("[")):
            reader.at = start
            yield from super()._calls(tagged=tagged)
            return
        yield from reader.skip_space()
        name = yield from reader.run(_NAME)
        if not name:
            reader.at = start
            yield from super()._calls(tagged=tagged)
            return
        likely = (tagged or name in self._tools) and (yield from reader.peek()) == "("
        while likely and (yield from reader.find(("]",))):
            reader.at += 1
            calls = pythonic(reader.text[begun : reader.at])
            if calls and (tagged or all(name in self._tools for name, _ in calls)):
                reader.forget()
                for name, arguments in calls:
                    self._start(name)
                    self._give_arguments(arguments)
                yield from self._close()
                return
        reader.at = start if tagged else max(start, begun + 1)
        self._give_content()


def _whole(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]] | None:
    """Return the matches, one after another; None unless they are all of the text."""
    found = list(pattern.finditer(text))
    end = 0
    for each in found:
        if text[end : each.start()].strip():
            return None
        end = each.end()
    return None if text[end:].strip() else iter(found)


def _qwen(text: str, tools: Tools) -> list[Call] | None:
    if not text.rstrip().endswith("</function>"):
        return None  # cheaper than looking closer
    functions = _whole(_FUNCTION, text)
    calls: list[Call] = []
    for function in functions or ():
        name = function[1].strip()
        parameters = _whole(_PARAMETER, function[2])
        if parameters is None:
            return None
        calls.append((name, _typed(((each[1].strip(), each[2]) for each in parameters), tools.get(name))))
    return calls or None


def _glm(text: str, tools: Tools) -> list[Call] | None:
    call = _GLM_CALL.fullmatch(text)
    arguments = call and _whole(_GLM_ARGUMENT, call[2])
    if not call or arguments is None:
        return None
    return [(call[1], _typed(((each[1].strip(), each[2]) for each in arguments), tools.get(call[1])))]


def _dsml(text: str, _: Tools) -> list[Call] | None:
    call = _INVOKE.fullmatch(text)
    arguments = call and _whole(_DSML_ARGUMENT, call[2])
    if not call or arguments is None:
        return None
    return [(call[1], {each[1]: each[3] if each[2] == "true" else typed(each[3], {}) for each in arguments})]


def _kimi(text: str, _: Tools) -> list[Call] | None:
    call = _KIMI_CALL.fullmatch(text)
    arguments = call and _whole(_KIMI_ARGUMENT, call[2])
    if not call or arguments is None:
        return None
    read = {html.unescape(each[1]): each[3] if each[2] == "string" else typed(each[3], {}) for each in arguments}
    return [(html.unescape(call[1]), read)]


def _gemma(text: str, _: Tools) -> list[Call] | None:
    call = _GEMMA_CALL.fullmatch(text)
    arguments = call and shorthand(call[2])
    return [(call[1], arguments)] if call and arguments is not None else None


def _typed(pairs: Iterable[tuple[str, str]], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    properties = (schema or {}).get("properties") or {}
    return {key: typed(value, properties.get(key) or {}) for key, value in pairs}


NOTATIONS: Mapping[str, Read] = {"qwen": _qwen, "glm": _glm, "dsml": _dsml, "kimi": _kimi, "gemma": _gemma}
