"""What schemathesis is told beside the description: `SCHEMATHESIS_HOOKS=tests.conform.drawing`."""

from __future__ import annotations

from typing import Any

import schemathesis

SSE = "text/event-stream"


@schemathesis.hook
def before_load_schema(_: Any, schema: dict[str, Any]) -> None:
    """OpenAPI 3.1 describes a stream of events as one text; schemathesis holds that against each of its events."""
    for path in schema["paths"].values():
        for operation in path.values():
            for answer in operation.get("responses", {}).values():
                answer.get("content", {}).get(SSE, {}).pop("schema", None)


@schemathesis.hook
def map_body(_: Any, body: Any) -> Any:
    """Most requests name a model that there is: else none comes further than its name."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 4:
        return {**body, "model": "hello"}
    return body


@schemathesis.check
def not_broken(_: Any, response: Any, __: Any) -> None:
    """An API behind the server may fail (502, 503, 504); the server itself may not."""
    assert response.status_code != 500, "the server has failed"
