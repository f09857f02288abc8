"""A message of MQTT in, what it asks and where its answer goes out; and the pieces of an answer -> payloads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deployments.asgi.json_values import json_bytes, parse_object, validated
from deployments.bridges.mqtt.topics import Topics, level
from deployments.conversations.request import Conversation, Sampling
from deployments.store.rows import OnBusy
from graphs.errors import AnabranchError, BadRequest, InvalidInput, TooLarge

TEXT, JSON = "text/plain", "application/json"
"""Content types, of which MQTT 5 knows."""


class Incoming(NamedTuple):
    """A message as it came. What only MQTT 5 has is None without it."""

    payload: bytes
    response_topic: str | None = None
    correlation: bytes | None = None
    content_type: str | None = None


class Address(NamedTuple):
    """Where an answer goes, and what its client tells it by."""

    topic: str
    request_id: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a message asks."""

    conversation: Conversation
    session: str | None
    system_prompt: str | None
    on_busy: OnBusy
    client: str | None
    request_id: str | None
    topic: str | None
    """Where its answer goes; None: that depends on the session, which is to be made."""
    correlation: bytes | None
    key: str | None
    """The same in a message that comes again; None where nothing tells."""
    after: int | None
    """Not None: the answer is to be told again, what follows this number."""


class Refused(Exception):
    """A message that can't be answered, with where to say so."""

    def __init__(self, error: AnabranchError, address: Address) -> None:
        super().__init__(error.message)
        self.error, self.address = error, address


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty; write what the user says")
    return text


Level = Annotated[str, Field(max_length=256), AfterValidator(level)]


class Asking(BaseModel):
    """The fields of a message in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    message: Annotated[str, AfterValidator(_said)]
    session: Level | None = Field(default=None, alias="sessionId")
    system_prompt: str | None = Field(default=None, alias="systemPrompt")
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1, alias="topP")
    max_tokens: int | None = Field(default=None, ge=1, alias="maxTokens")
    reply_topic: str | None = Field(default=None, alias="replyTopic")
    client: Level | None = Field(default=None, alias="clientId")
    request_id: Level | None = Field(default=None, alias="requestId")
    stream: bool = False
    after: int | None = Field(default=None, ge=-1)
    """The last number that the client has of the answer to an earlier message with this id; -1 if it has none."""
    model: str | None = None
    on_busy: OnBusy = Field(default="enqueue", alias="onBusy")


def decode(incoming: Incoming, topics: Topics, most: int, model: str | None = None) -> Question:
    """Return what a message asks of `model`, if it names no other; raise Refused."""
    fields: dict[str, Any] = {}
    try:
        fields = _fields(incoming, most)
        asking = validated(Asking, fields)
        return _question(asking, incoming, _topic(asking, incoming, topics), topics, model)
    except AnabranchError as error:
        raise Refused(error, _where(fields, incoming, topics)) from None


def chunk(address: Address, seq: int, said: dict[str, Any]) -> bytes:
    """Return a message of a streamed answer."""
    return json_bytes({"requestId": address.request_id, "seq": seq, **said})


def failure(address: Address, error: AnabranchError) -> bytes:
    """Return what is said in place of an answer."""
    return json_bytes({"requestId": address.request_id, "error": error.message})


def _fields(incoming: Incoming, most: int) -> dict[str, Any]:
    """Return the fields of a message; a text alone is what the user says."""
    size = len(incoming.payload)
    if size > most:
        raise TooLarge(f"the message has {size} bytes, and no more than {most} are read; send a shorter one")
    stated = (incoming.content_type or "").partition(";")[0].strip().lower()
    if stated == JSON or (stated != TEXT and incoming.payload.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")):
        try:
            return parse_object(incoming.payload)
        except BadRequest as wrong:
            raise BadRequest(wrong.message.replace("the body", "the message"), **wrong.details) from None
    try:
        return {"message": incoming.payload.decode("utf-8-sig")}
    except UnicodeDecodeError as error:
        byte = incoming.payload[error.start]
        message = f"the message is not UTF-8 (byte {error.start} is 0x{byte:02x}); send JSON or text in UTF-8"
        raise BadRequest(message) from None


def _topic(asking: Asking, incoming: Incoming, topics: Topics) -> str | None:
    """Return where the client wants its answer; None if it leaves that to the bridge."""
    reply, response = asking.reply_topic, incoming.response_topic
    if reply is not None:
        if asking.session is None:
            message = "replyTopic: it lies in the branch of a session; send sessionId too, or leave it out"
            raise InvalidInput(message, field="replyTopic")
        if response not in (None, reply):
            message = "replyTopic: the message has another response topic; send one of them"
            raise InvalidInput(message, field="replyTopic")
        return topics.chosen(reply, asking.session, "replyTopic")
    if response is not None:
        return topics.chosen(response, asking.session, "response topic")
    return None if asking.session is None else topics.answer(asking.session, asking.client, asking.request_id)


def _question(asking: Asking, incoming: Incoming, topic: str | None, topics: Topics, model: str | None) -> Question:
    told = {"session_id": asking.session, "system_prompt": asking.system_prompt, "client_id": asking.client}
    conversation = Conversation(
        use="chat",
        model=asking.model or model,
        stream=asking.stream,
        messages=[{"role": "user", "content": asking.message}],
        sampling=Sampling(temperature=asking.temperature, top_p=asking.top_p, max_tokens=asking.max_tokens),
        fields={name: value for name, value in told.items() if value is not None},
    )
    return Question(
        conversation=conversation,
        session=asking.session,
        system_prompt=asking.system_prompt,
        on_busy=asking.on_busy,
        client=asking.client,
        request_id=asking.request_id,
        topic=topic,
        correlation=incoming.correlation,
        key=_key(asking, incoming, topics.project),
        after=asking.after,
    )


def _key(asking: Asking, incoming: Incoming, project: str) -> str | None:
    """Return what tells a message that comes again: its request's id, or what MQTT 5 has in place of one."""
    if asking.request_id is None and incoming.correlation is None:
        return None
    correlation = None if incoming.correlation is None else incoming.correlation.hex()
    parts = [project, asking.session, asking.client, asking.request_id, incoming.response_topic, correlation]
    return f"mqtt:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def _where(fields: dict[str, Any], incoming: Incoming, topics: Topics) -> Address:
    """Return where to say what is wrong with a message: as near to where its answer would go as can be told."""
    session, client, request = (_level(fields.get(name)) for name in ("sessionId", "clientId", "requestId"))
    topic = topics.errors if session is None else topics.answer(session, client, request)
    for wanted, field in ((fields.get("replyTopic"), "replyTopic"), (incoming.response_topic, "response topic")):
        if isinstance(wanted, str) and (session is not None or field != "replyTopic"):
            try:
                topic = topics.chosen(wanted, session, field)
            except InvalidInput:
                continue
    return Address(topic, request, incoming.correlation)


def _level(value: Any) -> str | None:
    try:
        return level(value) if isinstance(value, str) and len(value) <= 256 else None
    except ValueError:
        return None
