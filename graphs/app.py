"""Build the Serve application of a document: BuildArgs in, Application out. The one place where both halves meet."""

# No `from __future__ import annotations` here: Ray finds a typed builder by the annotation of its one parameter.
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray.serve import Application

from deployments.components import registry
from deployments.serve import bridges, ingress, worker
from graphs.component import Registry
from graphs.errors import BadRequest, Unavailable
from graphs.load import load, load_inline
from graphs.placement import Node, far_store, misfits
from graphs.plan import Plan
from graphs.secrets import secrets_of
from graphs.source import Mistakes, in_order

logger = logging.getLogger("anabranch.build")
ROOT = Path(__file__).resolve().parent.parent


class BuildArgs(BaseModel):
    """What `applications[].args` of a Serve config may hold."""

    model_config = ConfigDict(extra="forbid")

    config: str | list[str] | None = Field(default=None, description="path of a document, or a list of paths to merge")
    document: str | dict[str, Any] | None = Field(default=None, description="the document itself")
    revision: str | int | None = Field(
        default=None, description="change it to have `serve deploy` read the same path again: Ray compares these args"
    )
    check_placement: bool = Field(
        default=True, description="refuse what the cluster can't place now; false where an autoscaler may add nodes"
    )

    @model_validator(mode="after")
    def _one_of(self) -> "BuildArgs":
        if (self.config is None) == (self.document is None):
            raise ValueError("write exactly one of config (a path) and document (the YAML itself)")
        return self


def build(args: BuildArgs) -> Application:
    """Return the application of the document that `args` name."""
    types = registry()
    return compose(_plan(args, types), types, check_placement=args.check_placement)


def __getattr__(name: str) -> Application:
    """Give `graphs.app:app`, for commands such as `serve build` that want an application and can't call a builder.

    It is the application of the documents in ANABRANCH_CONFIG (several separated as in PATH), else of serve_config.yaml.
    """
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    named = os.environ.get("ANABRANCH_CONFIG")
    return build(BuildArgs(config=named.split(os.pathsep)) if named else _serve_config_args())


def compose(plan: Plan, types: Registry, *, check_placement: bool = True) -> Application:
    """Return the application of a plan: a deployment for each component, the ingress that holds their handles and the
    components placed in it, and one for the bridges where there are any."""
    if ray.is_initialized():
        plan = _fitted(plan, [node["Resources"] for node in ray.nodes() if node["Alive"]], check_placement)
    deployed = {id: each for id, each in plan.components.items() if types[each.type].deployed}
    placed = {id: types[each.type] for id, each in deployed.items() if each.placement == "ingress"}
    workers = {
        id: worker.bind(each, types[each.type], secrets_of(each, plan))
        for id, each in deployed.items()
        if id not in placed
    }
    bridging = bridges.bind_bridges(plan, workers, placed) if plan.controller.bridges else None
    return ingress.bind_ingress(plan, workers, placed, bridging)


def _fitted(plan: Plan, nodes: Sequence[Node], check_placement: bool) -> Plan:
    """Return the plan for these nodes; raise Unavailable if they can't run it.

    A store that the document writes must be reached from all of them, however many an autoscaler adds. Where it says nothing
    of a store, runs can't be kept, and the rest is served.
    """
    reasons = misfits(plan, nodes) if check_placement else []
    store, far = plan.controller.store, far_store(plan, nodes)
    if far is not None and store.written:
        reasons.append(far)
    if reasons:
        raise Unavailable("; ".join(reasons))
    if far is None:
        return plan
    logger.warning("no run can be kept: %s", far)
    return replace(plan, controller=replace(plan.controller, store=store._replace(url=None)))


def _serve_config_args() -> BuildArgs:
    path = _found(Path("serve_config.yaml"))
    try:
        config: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return BuildArgs.model_validate(config["applications"][0]["args"])
    except (OSError, KeyError, IndexError, TypeError) as error:
        raise BadRequest("nothing says what to build; set ANABRANCH_CONFIG to the path of a document") from error


def _plan(args: BuildArgs, types: Registry) -> Plan:
    mistakes = Mistakes()
    if args.document is not None:
        plan = load_inline(args.document, types, mistakes=mistakes)
    else:
        paths = [args.config] if isinstance(args.config, str) else list(args.config or [])
        plan = load([_found(Path(path)) for path in paths], types, mistakes=mistakes)
    for warning in in_order(mistakes.warnings):
        logger.warning(warning.render())
    return plan


def _found(path: Path) -> Path:
    """Look in the working directory, then beside the packages: a replica's working directory is not the user's."""
    return path if path.is_absolute() or path.exists() or not (ROOT / path).exists() else ROOT / path
