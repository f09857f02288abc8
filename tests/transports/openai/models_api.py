"""OpenAI's API over a hand-made plan: a workflow `story` and a model component `tiny`, one invoke behind both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from deployments.conversations.models import asked
from deployments.gateway.gateway import Gateway
from deployments.runs.events import Invocation
from deployments.transports.app import build_app
from deployments.transports.openai.errors import error_body, openai_error
from deployments.transports.openai.requests import Wanted
from graphs.errors import AnabranchError
from graphs.plan import Model, OutputKind, Plan, WorkflowPlan
from graphs.stream import Batch, Note, Stream, Value
from tests.runs.builders import job, workflow
from tests.transports.served import DEADLINE, Invoke, Wire, connected, one, plan, serving

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
HELLO = [{"role": "user", "content": "Hello"}]
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
HUB = "meta-llama/Llama-2-7b-chat-hf"
USES = ("chat", "completion", "embedding")


def models_plan(story: WorkflowPlan | None = None, **controller: Any) -> Plan:
    served = plan(story or one(OutputKind("text", "sse-text")), **controller)
    doors = {f"tiny:{use}": workflow(job("model", "${input}"), id=f"tiny:{use}") for use in USES}
    tiny = Model("tiny", {use: f"tiny:{use}" for use in USES}, is_component=True)
    story_model = Model("story", dict.fromkeys(USES, "story"), is_component=False)
    return replace(served, models={"story": story_model, "tiny": tiny, HUB: tiny}, doors=doors)


class Answering:
    """A component that keeps what it is asked, and answers the same every time: a whole, or chunks and a note."""

    def __init__(
        self, *chunks: Any, whole: Any = None, usage: Mapping[str, Any] | None = USAGE, finish: str | None = None
    ) -> None:
        self.inputs: list[Any] = []
        self._chunks, self._whole = chunks, whole
        noted = {**({"usage": usage} if usage else {}), **({"finish_reason": finish} if finish else {})}
        self._notes: Batch = [Note(noted)] if noted else []

    async def __call__(self, invocation: Invocation) -> Value:
        self.inputs.append(invocation.input)
        if isinstance(self._whole, BaseException):
            raise self._whole
        return Stream(self._batches()) if self._whole is None else self._whole

    async def _batches(self) -> AsyncIterator[Batch]:
        for chunk in self._chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield [chunk]
        yield self._notes


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def chunks(self) -> list[Any]:
        """The events of a stream that ended well."""
        *events, done, rest = self.body.decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        return [json.loads(event.removeprefix("data: ")) for event in events]


async def ask(
    invoke: Invoke, path: str, body: Any = b"", *headers: str, method: str = "POST", served: Plan | None = None
) -> Answer:
    """One request on a connection of its own."""
    app = build_app(Gateway(served or models_plan(), invoke))
    async with serving(app, DEADLINE) as address, connected(address) as wire:
        await wire.ask(body, *headers, path=path, method=method)
        return await read(wire)


def scored(token: str, *likely: str) -> dict[str, Any]:
    """How likely a token was, as engines note it."""
    top = [{"token": each, "logprob": -0.25, "bytes": list(each.encode())} for each in likely]
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": top}


def refused(decode: Callable[[Any], Wanted], said: Any) -> Any:
    """What OpenAI's clients are told of a request that begins no run."""
    with pytest.raises(AnabranchError) as refusal:  # noqa: PT012  (either may refuse)
        for conversation in decode(said).conversations:
            asked(models_plan(), conversation)
    assert openai_error(refusal.value).status_code == 400
    return error_body(refusal.value)["error"]


async def read(wire: Wire) -> Answer:
    status, headers = await wire.head()
    if "content-length" in headers:
        return Answer(status, headers, await wire.reader.readexactly(int(headers["content-length"])))
    return Answer(status, headers, await rest(wire))


async def rest(wire: Wire) -> bytes:
    """What is left of a chunked body."""
    body = b""
    while chunk := await wire.chunk():
        body += chunk
    return body
