"""What tests of components say often: make a call, take everything it gives, or the error it ends with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from deployments.components.http_client import HttpClient, HttpClientInput
from graphs.component import Note
from graphs.errors import AnabranchError

Ask = Callable[..., AsyncIterator[Any]]
Client = Callable[..., Awaitable[HttpClient]]


async def everything(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


async def said(chunks: AsyncIterator[Any]) -> list[Any]:
    """Return everything but the notes."""
    return [chunk async for chunk in chunks if not isinstance(chunk, Note)]


async def one(component: HttpClient, **action: Any) -> list[Any]:
    return await everything(component.run(HttpClientInput.model_validate(action)))


async def failure(chunks: AsyncIterator[Any]) -> AnabranchError:
    with pytest.raises(AnabranchError) as failed:
        await everything(chunks)
    return failed.value
