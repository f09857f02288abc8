"""A job while it is checked: more than its keys, not yet a job of the Plan; and what it is checked against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphs.checker import bindings
from graphs.checker.components import CheckedComponent
from graphs.checker.routes import Route, node_at
from graphs.document import job_types
from graphs.language.nodes import Template
from graphs.plan import Call
from graphs.source import MappingNode, Span


@dataclass
class Draft:
    """A job between its document and its Plan."""

    id: str
    node: MappingNode
    spec: job_types.JobBase
    what: str
    """What messages call it."""
    call: Call | None = None
    called: CheckedComponent | None = None
    reads: dict[str, Span] = field(default_factory=dict[str, Span])
    """Jobs its bindings reference."""
    routes: list[Route] = field(default_factory=list[Route])
    items: Template | None = None
    well: bool = True
    """Whether its keys have no mistake."""

    def template(self, *path: str) -> Template | None:
        """Return the compiled value at a path of keys."""
        return bindings.to_template(node_at(self.node, *path))


@dataclass(frozen=True)
class Surroundings:
    """What a job is checked against."""

    components: Mapping[str, CheckedComponent]
    inline: Mapping[int, str]
    """Ids of components written inside jobs, by the identity of their tree: two may be written alike."""
    default_component: str | None
    default_hidden: bool
    """Whether a mistake hides which component is the default."""
    named_components: tuple[str, ...] | None
    """None when a mistake hides which there are."""
    workflows: tuple[str, ...]
    default_workflow: str | None
    jobs: tuple[str, ...] | None
    """None when a mistake hides which there are."""
    routers: frozenset[str]
