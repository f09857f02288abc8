"""The list of models as Anthropic's clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.transports.anthropic.messages_api import request
from tests.transports.served import answering

VERSION = {"anthropic-version": "2023-06-01"}
NAMES = ["story", "needy", "tiny", "hub/tiny-model", "vectors"]


async def models(path: str) -> tuple[int, Any]:
    status, headers, text = await request(answering("x"), path=f"/v1/models{path}", method="GET", headers=VERSION)
    assert headers["request-id"].startswith("req_")
    return status, json.loads(text)


async def test_all_models_with_their_titles() -> None:
    _, said = await models("")
    assert [model["id"] for model in said["data"]] == NAMES
    assert (said["has_more"], said["first_id"], said["last_id"]) == (False, "story", "vectors")
    assert said["data"][1] == {
        "type": "model",
        "id": "needy",
        "display_name": "Tells of something",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "line": None,
        "capabilities": None,
        "max_input_tokens": None,
        "max_tokens": None,
        "deprecated_at": None,
        "retires_at": None,
    }


@pytest.mark.parametrize(
    ("query", "shown", "more"),
    [
        ("?limit=2", NAMES[:2], True),
        ("?limit=2&after_id=needy", NAMES[2:4], True),
        ("?limit=2&after_id=hub/tiny-model", NAMES[4:], False),
        ("?after_id=vectors", [], False),
        ("?limit=2&before_id=vectors", NAMES[2:4], True),
        ("?limit=9&before_id=tiny", NAMES[:2], False),
    ],
)
async def test_a_page_of_the_models(query: str, shown: list[str], more: bool) -> None:
    _, said = await models(query)
    assert ([model["id"] for model in said["data"]], said["has_more"]) == (shown, more)


@pytest.mark.parametrize("id", ["tiny", "hub/tiny-model", "hub%2Ftiny-model"])
async def test_one_model(id: str) -> None:
    status, said = await models(f"/{id}")
    assert (status, said["id"]) == (200, id.replace("%2F", "/"))


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/nope", 404, "not_found_error"),
        ("?limit=0", 400, "invalid_request_error"),
        ("?limit=x", 400, "invalid_request_error"),
        ("?after_id=nope", 400, "invalid_request_error"),
    ],
)
async def test_what_is_wrong_is_told_in_anthropics_words(path: str, status: int, kind: str) -> None:
    answered, said = await models(path)
    assert (answered, said["error"]["type"]) == (status, kind)


async def test_a_request_without_the_version_isnt_anthropics() -> None:
    _, _, text = await request(answering("x"), path="/v1/models/nope", method="GET")
    assert json.loads(text).get("type") != "error"
