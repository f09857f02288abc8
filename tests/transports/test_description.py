"""What `/openapi.json` and `/docs` say of the API, and that it is so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aiohttp import ClientSession
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator

from deployments.gateway.gateway import Gateway
from deployments.transports.app import build_app
from tests.transports.served import answering, asked, plan, serving

PLAIN = {"Accept-Encoding": "identity"}


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_the_docs_describe_every_answer_of_a_run(prefix: str) -> None:
    response, body = await asked("GET", f"{prefix}/openapi.json", headers=PLAIN)
    paths = json.loads(body)["paths"]
    assert {"/workflows", "/workflows/{workflow_id}/schema", "/workflows/runs", "/health", "/ready"} <= set(paths)
    run = paths["/workflows/runs"]["post"]
    assert set(run["responses"]["200"]["content"]) == {
        "application/json",
        "text/event-stream",
        "application/octet-stream",
    }
    assert {"400", "403", "404", "413", "422", "500", "502", "503", "504"} <= set(run["responses"])
    assert run["requestBody"]["required"] is True  # an empty body is refused
    assert "session_id" in run["requestBody"]["content"]["application/json"]["schema"]["properties"]
    response, body = await asked("GET", f"{prefix}/docs", headers=PLAIN)
    assert f"{prefix}/openapi.json".encode() in body
    assert response.status == 200
    loads = re.findall(r'(?:src|href)="([^"]+)"', body.decode())
    assert loads
    for each in loads:  # all of it from here: there may be no network
        response, body = await asked("GET", each, headers=PLAIN)
        assert (response.status, len(body) > 1000) == (200, True)


async def test_the_docs_describe_a_run_that_is_shown_as_its_output_alone() -> None:
    shown = (await described())["paths"]["/tasks/{task_id}"]["get"]["responses"]
    schema = shown["200"]["content"]["application/json"]["schema"]
    assert Draft202012Validator(schema).is_valid("only its output")
    assert {"404", "409", "502", "503", "504"} <= set(shown)


async def described() -> dict[str, Any]:
    _, body = await asked("GET", "/openapi.json", headers=PLAIN)
    return json.loads(body)


def operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def within(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping within a value, itself included."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from within(each)


async def test_the_description_is_openapi() -> None:
    document = await described()
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)
    for each in within(document):
        if isinstance(schema := each.get("schema"), dict):
            Draft202012Validator.check_schema(schema)
    known = document["components"]["schemas"]
    for schema in known.values():
        Draft202012Validator.check_schema(schema)
    named = {each["$ref"] for each in within(document) if "$ref" in each}
    assert named == {f"#/components/schemas/{name}" for name in known}
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(set(ids)) == len(ids)


async def test_every_error_is_described_in_the_one_shape_there_is() -> None:
    document = await described()
    assert "ValidationError" not in json.dumps(document)
    ours = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    del document["paths"]["/ready"]["get"]["responses"]["503"]  # no error, but an answer: what isn't ready
    for path, methods in document["paths"].items():
        for operation in methods.values():
            errors = {status: answer for status, answer in operation["responses"].items() if not status.startswith("2")}
            assert {"500", "default"} <= set(errors)
            (shape,) = {json.dumps(answer["content"]) for answer in errors.values()}
            assert (json.loads(shape) == ours) is not path.startswith("/v1/")  # which has the vendors' own shapes


@pytest.mark.parametrize(
    ("path", "amiss", "status"),
    [
        ("/health", None, "200"),
        ("/ready", None, "200"),
        ("/ready", "updating", "503"),
        ("/workflows", None, "200"),
        ("/workflows/{workflow_id}/schema", None, "200"),
        ("/nowhere", None, "404"),
    ],
)
async def test_an_answer_is_as_described(path: str, amiss: str | None, status: str) -> None:
    async def ready() -> dict[str, str | None]:
        return {"a": amiss}

    document = await described()
    answers = document["paths"].get(path, document["paths"]["/workflows/{workflow_id}/schema"])["get"]["responses"]
    schema = answers[status]["content"]["application/json"]["schema"]
    assert schema  # an empty one would fit anything
    served = build_app(Gateway(plan(), answering(1), ready))
    async with (
        serving(served) as address,
        ClientSession() as session,
        session.get(address + path.replace("{workflow_id}", "story")) as response,
    ):
        assert str(response.status) == status
        Draft202012Validator({**schema, "components": document["components"]}).validate(await response.json())
