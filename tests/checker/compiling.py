"""YAML text in, its plan or its messages out, against the real component types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from textwrap import dedent

import pytest

from deployments.components import registry
from graphs.checker import check
from graphs.component import Registry
from graphs.plan import Plan, WorkflowPlan
from graphs.source import DocumentError, Source


@cache
def types() -> Registry:
    """Return the component types there are."""
    return registry()


def compiled(*documents: str, env: Mapping[str, str] | None = None) -> Plan:
    """Return the plan of documents merged in order."""
    sources = [Source(f"{number}.yaml", dedent(text)) for number, text in enumerate(documents, 1)]
    return check(sources, types(), (env or {}).get)


def workflow(*documents: str, env: Mapping[str, str] | None = None) -> WorkflowPlan:
    """Return the only workflow of documents."""
    [only] = compiled(*documents, env=env).workflows.values()
    return only


def messages(*documents: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Return the messages that documents earn."""
    with pytest.raises(DocumentError) as caught:
        compiled(*documents, env=env)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]
