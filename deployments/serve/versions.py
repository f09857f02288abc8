"""Give a Serve deployment a version made of what it runs, so that a redeployment restarts only what changed.

Ray decides by comparing versions, deployment by deployment; ARCHITECTURE.md says what it does without.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version

from ray.serve import Application

from deployments.serve.ray_internals import pin_version


def pin(application: Application, *parts: object) -> Application:
    """Pin the version of the application's own deployment to a digest of `parts`, whose repr is their value, and of the product's version."""
    text = "\n".join((version("anabranch"), *map(repr, parts)))
    return pin_version(application, hashlib.sha256(text.encode()).hexdigest()[:16])
