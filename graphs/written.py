"""What a component type may ask of how its Input was written: fields that wait for an answer, and how much of a text is fixed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, PrivateAttr, ValidatorFunctionWrapHandler, WrapValidator

from graphs.stream import Value

ANSWER = ("result", "response")
"""What the bindings of a field that waits call the answer; an action's `output` calls it so too."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """A field whose bindings read what is known only once the call is under way."""

    give: Callable[[Mapping[str, Value]], Awaitable[T]]

    async def given(self, answer: Value) -> T:
        """Return the field's value, now that there is an answer to read. Raises InvalidInput where it doesn't fit."""
        return await self.give(dict.fromkeys(ANSWER, answer))


class Waits:
    """Marks an Input field whose bindings may read `result` and `response`, and wait for them."""


def _let_waiting_pass(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, Waiting) else validate(value)


if TYPE_CHECKING:
    Later = Annotated[T | Waiting[T], Waits()]
else:
    # Not a union at run time, as with Streamable: one message for what is wrong, and the JSON Schema shows T alone.
    Later = Annotated[T, WrapValidator(_let_waiting_pass), Waits()]
"""`then: Later[Then]`: a Then, or a Waiting that gives it once it knows the answer."""


@cache
def waiting_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields of an Input whose bindings may wait for the answer."""
    fields = model.model_fields.items()
    return frozenset(name for name, field in fields if any(isinstance(mark, Waits) for mark in field.metadata))


class Traced(BaseModel):
    """An Input that knows which of its text the document itself holds, and which came with a request."""

    _fixed: Mapping[str, str] | None = PrivateAttr(default=None)

    def trace(self, fixed: Mapping[str, str]) -> None:
        """Be told the text that stands before the first binding of each field (`a`, `a.b`); all, where there is none."""
        self._fixed = fixed

    def fixed(self, field: str, value: str) -> str:
        """Return how much of a field's value is the document's own text; all of it, when nobody told otherwise."""
        return value if self._fixed is None else self._fixed.get(field, "")
