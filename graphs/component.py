"""The contract every component type meets: a Config, an Input, and run, which answers in chunks.

A new type is one file in `deployments/components/`, or a package under the entry-point group `anabranch.components`;
docs/components.md shows one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidatorFunctionWrapHandler, WrapValidator

from graphs.language import truth
from graphs.stream import Chunk, Note, Stream, Value

__all__ = [
    "ANSWER", "ActionInput", "Chunk", "Component", "ComponentConfig", "Later", "LocalFolder", "Note", "Offer", "Registry", "Setup",
    "Stream", "Streamable", "TakesStream", "Traced", "Truth", "Unknown", "Use", "Value", "Waiting", "Waits", "Whole",
    "marked_fields", "truth", "upper_case",
]  # fmt: skip

T = TypeVar("T")

ANSWER = ("result", "response")
"""What the bindings of a field that waits call the answer; an action's `output` calls it so too."""


class TakesStream:
    """Marks an Input field that may be handed a Stream as it flows; other fields get it joined."""


def _let_pass(kind: type) -> WrapValidator:
    """Return what validates a field's value unless it is a `kind`."""

    def validated(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        return value if isinstance(value, kind) else validate(value)

    return WrapValidator(validated)


if TYPE_CHECKING:
    Streamable = Annotated[T | Stream, TakesStream()]
else:
    # Not a union at run time: a value that is wrong earns one message, and the JSON Schema shows T alone.
    Streamable = Annotated[T, _let_pass(Stream), TakesStream()]
"""`text: Streamable[str]`: a str, or a Stream of str read as it comes."""

Truth = Annotated[bool, BeforeValidator(truth)]
"""A switch in an Input, as `streaming` is: true or false by the language's rules, so that "off" is false."""


def upper_case(value: Any) -> Any:
    """Return a word in capitals, for a BeforeValidator of fields whose words may be written in any case."""
    return value.upper() if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """Marks a Config field (text, or a list of texts) that may name a folder beside the document.

    The checker makes it absolute, for replicas run elsewhere. What begins with `./`, `../`, `/` or `~` must be there;
    anything else is a folder if there is one that holds `holding`, and a name from elsewhere if not. Without
    `holding` it is a folder in any case: a relative one must be there, an absolute one may be the replica's alone.
    """

    holding: str | None = None


class ComponentConfig(BaseModel):
    """Fields written on the component itself; no bindings but `${env.…}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class ActionInput(BaseModel):
    """Fields written on an action (or, for all its actions, on the component); bindings are evaluated for every call."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True)


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is no stream: yielded once, alone. Its value is text, bytes or JSON."""

    value: Value
    notes: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """What a component gets when its replica starts."""

    id: str
    hide: Callable[[str], str] = str
    """Replaces the document's secrets in a text. For a component that logs what another program says, or quotes a part of
    it: hide the secrets first and cut after, or a part of one is left."""


Use = Literal["chat", "completion", "embedding", "count"]
"""What clients of the vendors' APIs ask of a model: to answer a conversation, to continue a text, for the vectors of texts, or
how many tokens a conversation has."""


class Offer(NamedTuple):
    """A use that a component is good for as a model of the vendors' APIs, called by the fields of the request as they are."""

    use: Use
    model: str
    """What a request may name, beside the component's id: the model's name on the hub."""
    asked: Mapping[str, Any]
    """Fields of the Input as bindings that read the request; where they give null, those of the action count."""
    replaced: frozenset[str] = frozenset()
    """Fields of the action that don't count here, whatever the request says."""


C = TypeVar("C", bound=ComponentConfig)
I = TypeVar("I", bound=ActionInput)  # noqa: E741  (C and I, as in the contract: Config and Input)


class Component(ABC, Generic[C, I]):
    """A capability. One instance lives in each replica of its deployment and serves many calls at once."""

    type: ClassVar[str]
    """What the document writes after `type:`."""
    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    Input: ClassVar[type[ActionInput]] = ActionInput
    deployed: ClassVar[bool] = True
    """False for a type that needs no deployment of its own."""
    light: ClassVar[bool] = False
    """True for a type that needs no GPU and never blocks its event loop: its components may be placed in the ingress
    (`placement: ingress`)."""
    config_names: ClassVar[frozenset[str]] = frozenset()
    """Names the type itself fills in, in bindings of its Config (`${port}`); such values reach it as text to render."""
    exclusive: ClassVar[frozenset[str]] = frozenset()
    """Fields of the Config in which no two components may have the same value: a port. 0 and null mean any."""

    def __init__(self, config: C, setup: Setup) -> None:
        self.config = config
        self.id = setup.id

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for what only this type can know to be wrong before anything runs.

        Both mappings are as written, after `${env.…}`; a value that is still a binding is an `Unknown`.
        """
        del config, action
        yield from ()

    @classmethod
    def check_placement(cls, config: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield (field, message) where a Config can't be met by the `resources` that each replica asks for."""
        del config, resources
        yield from ()

    @classmethod
    def offers(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[Offer]:
        """Yield what a component is good for as a model; the first offer of a use is what its own id stands for.

        `action` is its default one, as written; a value that is still a binding is an `Unknown`.
        """
        del config, action
        yield from ()

    @classmethod
    def spreads(cls, config: Mapping[str, Any]) -> bool:
        """Return whether a replica starts a worker of its own at each of its GPUs, wherever in the cluster they are."""
        del config
        return False

    @classmethod
    def closing_time(cls, config: Mapping[str, Any]) -> float:
        """Return how many seconds `close` may take: a replica that must go is given them, and killed after that."""
        del config
        return 0.0

    async def setup(self) -> None:
        """Make ready: load, connect, import what is heavy. The replica reports ready when it returns."""

    @abstractmethod
    def run(self, input: I) -> AsyncIterator[Chunk]:
        """Answer one call: chunks as they come, or one Whole. Cancelled when the caller leaves."""

    async def batches(self, input: I) -> AsyncGenerator[list[Chunk]]:
        """Answer as `run` does, chunks that are ready together in one list. A type whose chunks come several at once, as a
        packet's do, may answer here, and save what each would cost alone."""
        chunks = self.run(input)
        try:
            async for chunk in chunks:
                yield [chunk]
        finally:
            if isinstance(chunks, AsyncGenerator):  # other iterators have nothing to close
                await chunks.aclose()

    async def close(self) -> None:
        """Release what setup took."""

    async def healthy(self) -> None:
        """Raise when the replica should be replaced."""


class Unknown:
    """Stands for a value known only when the run does: a binding, in `Component.check`."""

    def __repr__(self) -> str:
        return "a binding"

    @classmethod
    def within(cls, value: Any) -> bool:
        """Return whether a binding is left in a value, however deeply it is nested."""
        rest = [value]
        while rest:
            each = rest.pop()
            if isinstance(each, cls):
                return True
            rest.extend(each.values() if isinstance(each, Mapping) else each if isinstance(each, list) else ())
        return False


ComponentType = type[Component[Any, Any]]

Registry = Mapping[str, ComponentType]
"""Component types by the name the document uses."""


# --- optional features of an Input: fields that wait for the answer, and text that the document itself holds ---------


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """A field whose bindings read what is known only once the call is under way."""

    give: Callable[[Mapping[str, Value]], Awaitable[T]]

    async def given(self, answer: Value) -> T:
        """Return the field's value, now that there is an answer to read. Raises InvalidInput where it doesn't fit."""
        return await self.give(dict.fromkeys(ANSWER, answer))


class Waits:
    """Marks an Input field whose bindings may read `result` and `response`, and wait for them."""


if TYPE_CHECKING:
    Later = Annotated[T | Waiting[T], Waits()]
else:
    # Not a union at run time, as with Streamable: one message for what is wrong, and the JSON Schema shows T alone.
    Later = Annotated[T, _let_pass(Waiting), Waits()]
"""`then: Later[Then]`: a Then, or a Waiting that gives it once it knows the answer."""


@cache
def marked_fields(model: type[BaseModel], kind: type[Waits | TakesStream]) -> frozenset[str]:
    """Return the fields of an Input that have a mark: whose bindings may wait for the answer, or that take a stream."""
    fields = model.model_fields.items()
    return frozenset(name for name, field in fields if any(isinstance(mark, kind) for mark in field.metadata))


class Traced(BaseModel):
    """An Input that knows which of its text the document itself holds, and which came with a request."""

    _fixed: Mapping[str, str] | None = PrivateAttr(default=None)

    def trace(self, fixed: Mapping[str, str]) -> None:
        """Take the text before the first binding of each field, by its path (`a`, `a.b`); all of it, if it has no binding."""
        self._fixed = fixed

    def fixed(self, field: str, value: str) -> str:
        """Return the part of a field's value that is the document's own text; all of it, if the Input was not traced."""
        return value if self._fixed is None else self._fixed.get(field, "")
