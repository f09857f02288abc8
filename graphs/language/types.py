"""The types that `as` knows, and how each is written: `text;sse-text`, `select/a,b,c`, `image/png;base64`."""

from __future__ import annotations

from graphs.language.nodes import Type

TEXTS = frozenset({"text", "string"})
MEDIA = frozenset({"image", "audio", "video", "file", "markdown"})
"""What the UI shows in its own way; the value passes through unchanged."""
CONVERTED = frozenset({"integer", "number", "boolean", "json", "list", "object", "base64", "select"})
TYPES = TEXTS | MEDIA | CONVERTED

STREAMED = frozenset({"sse-text", "sse-json"})
FORMATS = STREAMED | {"base64", "url", "path"}
FORMAT_OF = {"sse-text": "text", "sse-json": "json", "url": "image", "path": "file"}
"""The types that are most often meant where a format stands alone."""

ELSEWHERE = {
    "str": "text", "int": "integer", "long": "integer", "float": "number", "double": "number", "bool": "boolean",
    "array": "list", "dict": "object", "map": "object", "mapping": "object", "enum": "select",
}  # fmt: skip
"""What the types are called in other languages."""


def options(type: Type) -> tuple[str, ...]:
    """Return the choices of a `select/a,b,c`."""
    return tuple((type.subtype or "").split(",")) if type.name == "select" else ()


def flows(type: Type | None) -> bool:
    """Whether a stream stays a stream under this cast."""
    if type is None or type.name in TEXTS or type.name in MEDIA:
        return True
    return type.name == "json" and type.format in STREAMED
