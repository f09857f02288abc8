"""Give a Serve deployment a version made of what it runs, so that a redeployment restarts only what changed.

`serve deploy` gives every deployment of an application one version, a hash of the application's own entry in the Serve
config: touch one component and all replicas of all of them restart, models reload and streams are cut. Ray decides by
comparing that version with the running one, deployment by deployment, so a version of each deployment's own is enough.
Ray offers no option for it; it writes `version` into the deployment's config just before sending it, and this config
keeps its own.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

from ray.serve import Application
from ray.serve._private.config import DeploymentConfig  # pyright: ignore[reportPrivateUsage]

from graphs.language import print_template
from graphs.plan import ComponentPlan


class PinnedConfig(DeploymentConfig):
    """A DeploymentConfig whose version stays what it was made with."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "version":
            super().__setattr__(name, value)


def pin(application: Application, *parts: object) -> Application:
    """Pin the version of the application's own deployment to a digest of `parts` (by repr) and of the product's version."""
    deployment = application._bound_deployment  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    config = deployment._deployment_config  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    pinned = PinnedConfig.model_construct(config.model_fields_set, **{**dict(config), "version": digest(*parts)})
    deployment._deployment_config = pinned  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    return application


def fingerprint(plan: ComponentPlan) -> tuple[object, ...]:
    """Return what a component's replicas depend on: not where it stands in its file, which moves when others change."""
    actions = [
        (id, print_template(action.input), None if action.output is None else print_template(action.output))
        for id, action in plan.actions.items()
    ]
    return (plan.id, plan.type, plan.config, actions, plan.default_action)


def digest(*parts: object) -> str:
    """Return a short digest of frozen parts whose repr is their value."""
    text = "\n".join((version("anabranch"), *map(repr, parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
