"""`/tasks/{id}/ws`: the events of a kept run as frames, each the data of the event that `/tasks/{id}/events` sends, with its number."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, WebSocket

from deployments.asgi.errors import error_json
from deployments.asgi.inner_requests import Event
from deployments.asgi.socket import ENDED, FAULT, Socket, unknown_type
from deployments.gateway.gateway import Gateway
from graphs.errors import AnabranchError

OTHERS = ("ping", "auth")
OF_STATUS = 4000
"""Added to the status that the same request gets over HTTP, this is the code that the socket is closed with."""


class TaskSocket(Socket):
    """A socket that follows one run. To close it stops the reading; whether that stops the run is the run's to say."""

    async def opened(self) -> None:
        self.begin(None, {}, self._follow)

    async def take(self, fields: dict[str, Any]) -> None:
        raise unknown_type(fields.get("type"), OTHERS, "this socket follows a run, and takes no requests")

    def refusal(self, error: AnabranchError, fields: Mapping[str, Any]) -> str:  # noqa: ARG002
        return error_json(error).decode()

    async def _follow(self) -> None:
        """Send what the run says, and close the socket at its end."""

        async def say(event: Event) -> None:
            await self.send((b'{"id": %b, %b' % (event.id, event.data[1:])).decode())

        code = FAULT
        try:
            whole = await self.inner.ask("GET", f"{self.path.removesuffix('/ws')}/events", b"", say)
            if whole is None or whole.status == HTTPStatus.NO_CONTENT:
                code = ENDED
            else:
                code = OF_STATUS + whole.status
                await self.send(whole.body.decode())
        finally:
            self.close(code)


def routes(gateway: Gateway) -> APIRouter:
    """Return the route of the socket."""
    router = APIRouter()

    async def follow(websocket: WebSocket) -> None:
        await TaskSocket(websocket, gateway.plan.controller.max_request_size).attend()

    router.add_websocket_route("/tasks/{task_id}/ws", follow)
    return router
