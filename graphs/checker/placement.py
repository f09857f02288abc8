"""A component's keys, its type and the controller's in; out, whether it runs in the ingress or in its own deployment."""

from __future__ import annotations

from graphs.checker.drafts import node_text
from graphs.checker.layout import ComponentLayout
from graphs.component import Registry
from graphs.document import Placement
from graphs.source import Entry, MappingNode, Mistakes

OF_A_DEPLOYMENT = ("resources", "replicas", "autoscaling", "runtime_env")
"""Keys that say what a deployment of its own is like."""


def placed(
    layout: ComponentLayout, controller: MappingNode | None, registry: Registry, mistakes: Mistakes
) -> Placement:
    """Return where the component runs: as it says, else as the controller says if its type and its keys allow that.

    A value that is neither `own` nor `ingress` is left to the model of the component's keys.
    """
    written = layout.keys.given("placement")
    if not layout.cls.deployed:
        if written is not None:
            message = f"type '{layout.cls.type}' has no deployment to place: it runs inside the run that calls it"
            mistakes.add(layout.keys.entries["placement"].span, message, "remove placement", written.path)
            mistakes.silence(written.span)
        return "own"
    of_its_own = [layout.keys.entries[key] for key in OF_A_DEPLOYMENT if layout.keys.given(key) is not None]
    if written is None:
        default = node_text(controller, "placement") if controller else None
        return "ingress" if default == "ingress" and layout.cls.light and not of_its_own else "own"
    if node_text(layout.keys, "placement") != "ingress":
        return "own"
    if not layout.cls.light:
        light = ", ".join(sorted(name for name, cls in registry.items() if cls.light))
        message = f"type '{layout.cls.type}' can't be placed in the ingress: it needs a process of its own"
        mistakes.add(written, message, f"remove placement, or write own. Types that can: {light}.")
        return "own"
    _report(of_its_own, layout.what, mistakes)
    return "ingress"


def _report(of_its_own: list[Entry], what: str, mistakes: Mistakes) -> None:
    for entry in of_its_own:
        message = f"'{entry.key}' needs a deployment of its own, and {what} is placed in the ingress"
        hint = f"write `placement: own`, or move `{entry.key}` to the controller, for the whole ingress"
        mistakes.add(entry.span, message, hint, entry.path)
        mistakes.silence(entry.span)  # that replicas and autoscaling exclude each other is no news then
