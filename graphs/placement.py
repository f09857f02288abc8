"""Say why a plan can't be placed: the plan and the cluster's nodes in, a sentence for each request that never fits out.

And why its store can't be reached from all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphs.plan import Options, Plan

Node = Mapping[str, float]
"""What one node of the cluster offers, as Ray counts it."""

COUNTED = ("GPU", "CPU", "memory")
ACCELERATOR_SHARE = 0.001
"""What Ray itself asks of a node's accelerator type, so that many replicas fit."""


def misfits(plan: Plan, nodes: Sequence[Node]) -> list[str]:
    """Return the requests that the cluster can't place even when it is idle."""
    deployed = (each for each in plan.components.values() if each.type != "workflow" and each.placement == "own")
    requests = [(f"component '{each.id}'", each.options) for each in deployed]
    found = [reason for who, options in requests for reason in _alone(who, options, nodes)]
    own = [("the ingress", plan.controller.options), *([("the bridges", Options())] if plan.controller.bridges else [])]
    return found or list(_together([*requests, *own], nodes))


def far_store(plan: Plan, nodes: Sequence[Node]) -> str | None:
    """Return why runs can't be kept: the store is a file, and the ingress may have replicas on several nodes."""
    file, count = plan.controller.store.file, sum(any(node.values()) for node in nodes)
    if file is None or count < 2:
        return None
    return (
        f"controller.store is the file {file}, and the cluster has {count} nodes that don't share it; "
        "write controller.store: postgresql://user:password@host/database"
    )


def demands(options: Options) -> dict[str, float]:
    """Return what one replica takes, as Ray counts it."""
    wanted = {"GPU": options.num_gpus, "CPU": options.num_cpus, "memory": options.memory}
    found = {name: float(amount) for name, amount in wanted.items() if amount}
    if options.accelerator_type:
        found[f"accelerator_type:{options.accelerator_type}"] = ACCELERATOR_SHARE
    return found


def least_replicas(options: Options) -> int:
    """Return the smallest number of replicas."""
    if options.autoscaling is not None:
        return int(options.autoscaling.get("initial") or options.autoscaling.get("min", 1))
    return options.replicas or 1


def _alone(who: str, options: Options, nodes: Sequence[Node]) -> Iterator[str]:
    """Yield the resources of one replica that no single node has."""
    wanted = demands(options)
    if options.spread and wanted.get("GPU", 0.0) > 1:
        wanted["GPU"] = 1.0  # a bundle each; that there are enough in all, `_together` sees
    for name, amount in wanted.items():
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if amount <= most:
            continue
        if name.startswith("accelerator_type:"):
            offered = {kind for node in nodes for kind in node}
            kinds = sorted(kind.partition(":")[2] for kind in offered if kind.startswith("accelerator_type:"))
            yield (
                f"{who} asks for accelerator_type {options.accelerator_type}, and the cluster has "
                f"{', '.join(kinds) if kinds else 'none'}; change its resources or add such a node"
            )
        else:
            where = "the cluster has" if len(nodes) == 1 else "the largest node has"
            yield (
                f"{who} asks for {_amount(name, amount)} a replica, and {where} {_amount(name, most)}; "
                "lower its resources or add a node"
            )
        return
    if not any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in nodes):
        listed = ", ".join(_amount(name, amount) for name, amount in wanted.items())
        yield f"{who} asks for more than any one node has together: {listed}; lower its resources or add a node"


def _together(requests: Sequence[tuple[str, Options]], nodes: Sequence[Node]) -> Iterator[str]:
    """Yield the resources of which all replicas together ask for too much."""
    for name in COUNTED:
        shares = [(who, demands(options).get(name, 0.0) * least_replicas(options)) for who, options in requests]
        total, there = sum(share for _, share in shares), sum(node.get(name, 0.0) for node in nodes)
        if total > there + 1e-6:
            asked = ", ".join(f"{who} {_amount(name, share)}" for who, share in shares if share)
            yield (
                f"the document asks for {_amount(name, total)} in all, and the cluster has {_amount(name, there)} ({asked}); "
                "lower resources or replicas, or add a node"
            )


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / 2**30:.3g} GiB of memory"
    if name.startswith("accelerator_type:"):
        return f"an accelerator of type {name.partition(':')[2]}"
    return f"{amount:g} {name}" if amount == 1 else f"{amount:g} {name}s"
