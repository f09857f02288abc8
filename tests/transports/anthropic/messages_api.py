"""An API over a workflow `story` and a model component `tiny`, and what clients make of its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import ClientSession
from pydantic_core import from_json

from deployments.gateway.gateway import Gateway
from deployments.transports.app import Api, build_app
from graphs.plan import InputField, Model, Plan
from tests.transports.served import Invoke, one, plan, serving

HELLO = [{"role": "user", "content": "Hello"}]
ASKED = {"model": "story", "max_tokens": 9, "messages": HELLO}
USES = ("chat", "completion", "embedding")


def served_plan(**options: Any) -> Plan:
    needy = one(id="needy", inputs=(InputField("about"),), title="Tells of something")
    models = {
        "story": Model("story", dict.fromkeys(USES, "story"), is_component=False),
        "needy": Model("needy", dict.fromkeys(USES, "needy"), is_component=False),
        "tiny": Model("tiny", {"chat": "tiny:chat", "count": "tiny:count"}, is_component=True),
        "hub/tiny-model": Model("tiny", {"chat": "tiny:chat", "count": "tiny:count"}, is_component=True),
        "vectors": Model("vectors", {"embedding": "vectors:embedding"}, is_component=True),
    }
    doors = {id: one(id=id) for id in ("tiny:chat", "tiny:count", "vectors:embedding")}
    return replace(plan(one(), needy, **options), models=models, doors=doors)


def api(invoke: Invoke, **options: Any) -> Api:
    return build_app(Gateway(served_plan(**options), invoke))


async def request(
    invoke: Invoke,
    body: Any = None,
    *,
    path: str = "/v1/messages",
    method: str = "POST",
    headers: Mapping[str, str] = {},
    **options: Any,
) -> tuple[int, Mapping[str, str], str]:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    async with (
        serving(api(invoke, **options)) as address,
        ClientSession() as session,
        session.request(method, address + path, data=data, headers=headers) as response,
    ):
        return response.status, response.headers, await response.text()


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream; each is named as its type says."""
    found: list[dict[str, Any]] = []
    for event in text.split("\n\n")[:-1]:
        name, data = event.split("\n")
        said = json.loads(data.removeprefix("data: "))
        assert name == f"event: {said['type']}"
        found.append(said)
    return found


def fold(said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The message that a client puts together, by the rules of Anthropic's SDKs."""
    message: dict[str, Any] = {}
    inputs: dict[int, list[str]] = {}
    for event in said:
        match event:
            case {"type": "message_start", "message": begun}:
                message = {**begun, "content": [], "usage": dict(begun["usage"])}
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert index == len(message["content"])
                message["content"].append(dict(block))
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                assert index == len(message["content"]) - 1
                _grow(message["content"][index], delta, inputs.setdefault(index, []))
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                message |= delta
                message["usage"] |= usage
            case {"type": "ping" | "content_block_stop" | "message_stop"}:
                pass
            case _:
                raise AssertionError(event)
    return message


def _grow(block: dict[str, Any], delta: Mapping[str, Any], input: list[str]) -> None:
    match delta:
        case {"type": "text_delta", "text": text}:
            block["text"] += text
        case {"type": "thinking_delta", "thinking": text}:
            block["thinking"] += text
        case {"type": "signature_delta", "signature": signature}:
            block["signature"] = signature
        case {"type": "input_json_delta", "partial_json": text}:
            input.append(text)
            block["input"] = from_json("".join(input), allow_partial=True)
        case _:
            raise AssertionError(delta)
