"""`GET /v1/models`: what requests may name."""

from __future__ import annotations

import pytest

from tests.transports.openai.models_api import HUB, Answering, ask


async def test_the_list_has_workflows_components_and_hub_names() -> None:
    answer = await ask(Answering(), "/v1/models", method="GET")
    assert answer.json["object"] == "list"
    assert [model["id"] for model in answer.json["data"]] == ["story", "tiny", HUB]
    assert all(set(model) == {"id", "object", "created", "owned_by"} for model in answer.json["data"])


@pytest.mark.parametrize("path", [HUB, HUB.replace("/", "%2F"), HUB.replace("/", "%2f")])
@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_an_id_with_a_slash_is_found_however_it_is_written(path: str, prefix: str) -> None:
    answer = await ask(Answering(), f"{prefix}/v1/models/{path}", method="GET")
    assert (answer.status, answer.json["id"], answer.json["object"]) == (200, HUB, "model")


@pytest.mark.parametrize("path", ["tine", "meta-llama/other", ""])
async def test_an_unknown_model_is_told_with_those_there_are(path: str) -> None:
    answer = await ask(Answering(), f"/v1/models/{path}", method="GET")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert "the models are story, tiny" in answer.error["message"]
