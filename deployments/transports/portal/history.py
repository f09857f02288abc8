"""`GET /llm/…`: what was said in a session, its answer under way, the list of sessions; and whether there is anything that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from deployments.asgi.errors import described
from deployments.asgi.json_values import json_bytes, shortened
from deployments.gateway.gateway import Gateway
from deployments.gateway.running import Following
from deployments.sessions.history import messages_of
from deployments.sessions.sessions import History, Sessions
from deployments.store.rows import PENDING, SessionRow, TurnRow
from deployments.transports.piece_answer import Choice, PieceAnswer
from deployments.transports.portal.encoder import PortalEncoder, Progress
from deployments.transports.task_json import moment
from graphs.errors import BadRequest, Unavailable

State = Literal["waiting", "under_way", "complete", "cut", "failed"]


class SaidMessage(BaseModel):
    """A message of a session's history."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "user", "assistant", "tool"]
    content: Any
    run_id: str | None = Field(
        default=None, description="the run of the turn: /tasks/{run_id}, as long as that is kept"
    )
    state: State | None = Field(
        default=None, description="of the turn; what was said by one that was cut or failed is kept"
    )
    at: str | None = Field(default=None, examples=["2030-01-01T12:00:00.000Z"])


class SessionHistory(BaseModel):
    """What was said in a session."""

    session_id: str
    messages: list[SaidMessage]
    next: int | None = Field(
        default=None, description="what to give as `before` to get earlier turns, if there are any"
    )


class SessionSummary(BaseModel):
    """A session, without what was said in it."""

    session_id: str
    model: str = Field(description="the workflow that answered last")
    turns: int
    created_at: str
    updated_at: str


class SessionList(BaseModel):
    """Sessions, the last used first."""

    sessions: list[SessionSummary]
    next: str | None = Field(description="what to give as `before` to get older ones; null when there are none")


class Forgotten(BaseModel):
    """A session that was cleared or deleted."""

    session_id: str


class Health(BaseModel):
    """Everything that answers is ready."""

    status: Literal["ok"]
    models: list[str]


_UNKNOWN = described({404: "there is no such session", 503: "the store of sessions can't be reached"})
_LIMIT = Annotated[int, Query(ge=1, le=1000, description="how many turns at most")]
_BEFORE = Annotated[int | None, Query(description="those earlier than this turn")]
_SESSIONS = Annotated[int, Query(ge=1, le=500, description="how many at most")]
_OLDER = Annotated[str | None, Query(description="those that stand after this place in the list")]
_RUN = Annotated[str | None, Query(description="a turn of the session to be told again, by its run")]
_PROGRESS = Annotated[bool, Query(description="tell how far the answer is")]


def routes(gateway: Gateway, heartbeat_every: float) -> APIRouter:
    """Return the routes of sessions."""
    router = APIRouter(prefix="/llm", tags=["chat"])
    sessions = gateway.companion(Sessions)
    compression = gateway.plan.controller.compression

    async def health() -> Response:
        _check_ready(await gateway.ready())
        return _json({"status": "ok", "models": list(gateway.plan.models)})

    async def list_sessions(before: _OLDER = None, limit: _SESSIONS = 50) -> Response:
        found = await sessions.list(None if before is None else _place(before), limit + 1)
        shown = found[:limit]
        next = f"{shown[-1].updated_at!r}/{shown[-1].key.id}" if len(found) > limit else None
        return _json({"sessions": [_summary(each) for each in shown], "next": next})

    async def show(session_id: str, before: _BEFORE = None, limit: _LIMIT = 200) -> Response:
        history = await sessions.history(session_id, before, limit + 1)
        return _json(_shown(session_id, history, limit))

    async def follow(session_id: str, run_id: _RUN = None, progress: _PROGRESS = False) -> Response:
        running: Following | None
        if run_id is None:
            running = await sessions.under_way(session_id)
        else:
            running = await sessions.replay(session_id, run_id)
        if running is None:
            return Response(status_code=204)
        return PieceAnswer(
            [Choice(running, sessions.reading(running))],
            PortalEncoder(session_id, Progress(None) if progress else None),
            stream=True,
            compression=compression,
            heartbeat_every=heartbeat_every,
        )

    async def clear(session_id: str) -> Response:
        await sessions.clear(session_id)
        return _json({"session_id": session_id})

    async def forget(session_id: str) -> Response:
        await sessions.forget(session_id)
        return _json({"session_id": session_id})

    listed = {200: {"model": SessionList}, **described({503: "the store of sessions can't be reached"})}
    shown = {200: {"model": SessionHistory}, **_UNKNOWN}
    gone = {200: {"model": Forgotten}, **_UNKNOWN}
    stream: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "no answer is under way"},
        **_UNKNOWN,
    }
    ready = {200: {"model": Health}, **described({503: "a component isn't ready"})}
    one = "/chat/session/{session_id:path}"
    for method, path, endpoint, summary, responses in (
        ("GET", "/health", health, "Whether there is anything that answers", ready),
        ("GET", "/chat/sessions", list_sessions, "List sessions, the last used first", listed),
        ("GET", f"{one}/history", show, "Show what was said in a session", shown),
        ("GET", f"{one}/stream", follow, "Follow the answer of a session that is under way", stream),
        ("GET", one, show, "Show what was said in a session", shown),
        ("DELETE", f"{one}/history", clear, "Forget what was said in a session", gone),
        ("DELETE", one, forget, "Delete a session", gone),
    ):  # fmt: skip
        router.add_api_route(
            path, endpoint, methods=[method], summary=summary, responses=responses, response_class=Response
        )
    return router


def _check_ready(states: Mapping[str, str | None]) -> None:
    missing = [f"{id} is {state}" for id, state in states.items() if state is not None]
    if missing:
        raise Unavailable(f"not everything that answers is ready: {', '.join(missing)}")


def _shown(session_id: str, history: History, limit: int) -> dict[str, Any]:
    turns = history.turns[-limit:]
    system = [{"role": "system", "content": history.system}] if history.system else []
    body = {"session_id": session_id, "messages": [*system, *(each for turn in turns for each in _messages(turn))]}
    return {**body, "next": turns[0].number} if len(history.turns) > limit else body


def _messages(turn: TurnRow) -> Iterator[dict[str, Any]]:
    state = turn.state or ("waiting" if turn.status == PENDING else "under_way")
    for message in messages_of(turn):
        answered = message.get("role") == "assistant" and turn.ended_at is not None
        at = moment(turn.ended_at if answered and turn.ended_at is not None else turn.created_at)
        yield {**message, "run_id": turn.run, "state": state, "at": at}


def _summary(session: SessionRow) -> dict[str, Any]:
    return {
        "session_id": session.key.id,
        "model": session.workflow,
        "turns": session.turns,
        "created_at": moment(session.created_at),
        "updated_at": moment(session.updated_at),
    }


def _place(before: str) -> tuple[float, str]:
    time, slash, id = before.partition("/")
    try:
        return float(time), id if slash else ""
    except ValueError:
        raise BadRequest(
            f"expected before to be the `next` of a list of sessions, got '{shortened(before)}'; leave it out for the newest"
        ) from None


def _json(body: Any) -> Response:
    return Response(json_bytes(body), media_type="application/json")
