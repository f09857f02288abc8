"""A request of `POST /v1/responses` and the items before it -> the Conversation, and what the response repeats of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deployments.conversations.request import Conversation, Sampling, for_workflows
from deployments.transports.openai.responses.items import Item, messages_of
from deployments.transports.openai.responses.parameters import LOGPROBS, ResponseBody
from graphs.errors import InvalidInput
from graphs.stream import Value

TRANSLATED = frozenset({"input", "tools", "tool_choice", "text"})
"""What workflows read by chat completions' names and in their forms alone."""


class Placed(NamedTuple):
    """What is asked, and where in the request each of its messages stands."""

    conversation: Conversation
    places: list[str]


def conversation(body: ResponseBody, said: Mapping[str, Value], before: Sequence[Item], own: Sequence[Item]) -> Placed:
    """Return what is asked; `said` is the request as it came, `own` the items of its input, and `before` what was said before."""
    if not before and not own:
        raise InvalidInput('input: there is nothing to answer; write "input": "Hello"', field="input")
    messages = [] if body.instructions is None else [{"role": "system", "content": body.instructions}]
    places = ["instructions"] * len(messages)
    for index, message in messages_of([*before, *own]):
        messages.append(message)
        places.append(_place(index - len(before), is_text=isinstance(said.get("input"), str)))
    return Placed(_conversation(body, said, messages), places)


def _place(index: int, *, is_text: bool) -> str:
    if index < 0:
        return "previous_response_id"
    return "input" if is_text else f"input[{index}]"


def _conversation(body: ResponseBody, said: Mapping[str, Value], messages: Sequence[Mapping[str, Any]]) -> Conversation:
    tools, choice = _tools(body)
    fields, extra = for_workflows({name: value for name, value in said.items() if name not in TRANSLATED}, own=None)
    return Conversation(
        use="chat",
        model=body.model,
        stream=True,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        response_format=_response_format(body),
        sampling=Sampling(max_tokens=body.max_output_tokens, temperature=body.temperature, top_p=body.top_p),
        reasoning_effort=None if body.reasoning is None else body.reasoning.effort,
        truncation=body.truncation,
        logprobs=_logprobs(body),
        fields=fields,
        extra=extra,
        body=ResponseBody,
    )


def repeated(body: ResponseBody, model: str, *, store: bool) -> dict[str, Any]:
    """Return the fields of the response that repeat the request; what it leaves out is as OpenAI says then."""
    text, reasoning = body.text, body.reasoning
    format = _format(None if text is None else text.format)
    verbosity = {} if text is None or text.verbosity is None else {"verbosity": text.verbosity}
    return {
        "model": model,
        "background": bool(body.background),
        "store": store,
        "instructions": body.instructions,
        "previous_response_id": body.previous_response_id,
        "metadata": body.metadata or {},
        "tools": body.tools or [],
        "tool_choice": body.tool_choice or "auto",
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "text": {"format": format, **verbosity},
        "reasoning": {
            "effort": None if reasoning is None else reasoning.effort,
            "summary": None if reasoning is None else reasoning.summary,
        },
        "truncation": body.truncation or "disabled",
        "temperature": _or(body.temperature, 1.0),
        "top_p": _or(body.top_p, 1.0),
        "presence_penalty": _or(body.presence_penalty, 0.0),
        "frequency_penalty": _or(body.frequency_penalty, 0.0),
        "top_logprobs": body.top_logprobs or 0,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "service_tier": body.service_tier if body.service_tier not in (None, "auto") else "default",
        "user": body.user,
        "safety_identifier": body.safety_identifier,
        "prompt_cache_key": body.prompt_cache_key,
    }


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _tools(body: ResponseBody) -> tuple[list[dict[str, Any]], Any]:
    """Return the tools and the choice as chat completions write them. Of tools that aren't allowed the model hears nothing."""
    tools, choice = body.tools or [], body.tool_choice
    match choice:
        case {"type": "allowed_tools", "mode": mode, "tools": allowed}:
            names = [tool["name"] for tool in allowed]
            _check_names(names, tools)
            tools, choice = [tool for tool in tools if tool["name"] in names], mode
        case {"type": "function", "name": name}:
            _check_names([name], tools)
            choice = {"type": "function", "function": {"name": name}}
        case _:
            pass
    return [_chat_tool(tool) for tool in tools], choice


def _check_names(names: Sequence[str], tools: Sequence[Mapping[str, Any]]) -> None:
    known = [tool["name"] for tool in tools]
    for name in names:
        if name not in known:
            listed = f"the tools are {', '.join(known)}" if known else "there are no tools"
            raise InvalidInput(f"tool_choice: there is no tool '{name[:64]}'; {listed}", field="tool_choice")


def _chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in tool.items() if key != "type" and value is not None}
    return {"type": "function", "function": told}


def _response_format(body: ResponseBody) -> dict[str, Any] | None:
    format = None if body.text is None else body.text.format
    if format is None or format["type"] == "text":
        return None
    told = {key: value for key, value in format.items() if key != "type" and value is not None}
    return {"type": "json_schema", "json_schema": told} if format["type"] == "json_schema" else {"type": format["type"]}


def _format(said: Mapping[str, Any] | None) -> dict[str, Any]:
    if said is None:
        return {"type": "text"}
    in_full = {"description": None, "strict": False} if said["type"] == "json_schema" else {}
    return {**in_full, **said}


def _logprobs(body: ResponseBody) -> int | None:
    return body.top_logprobs or 0 if body.top_logprobs or LOGPROBS in (body.include or ()) else None
