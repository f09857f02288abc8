"""Why a plan can't be placed on a cluster: one sentence for each request that never fits."""

from __future__ import annotations

from dataclasses import replace

from graphs.placement import demands, far_store, least_replicas, misfits
from graphs.plan import ComponentPlan, Controller, Options, Plan, Store

SMALL = {"CPU": 4.0, "memory": 8e9}
GPU = {"CPU": 8.0, "GPU": 1.0, "memory": 32e9, "accelerator_type:L4": 1.0}


def plan(ingress: Options | None = None, /, **components: Options) -> Plan:
    return Plan(
        controller=Controller(
            None, None, None, (), False, 0, None, ingress or Options(num_cpus=0), Store("sqlite:////nowhere/runs.db")
        ),
        components={
            id: ComponentPlan(id, "workflow" if id == "nested" else "echo", {}, {}, None, options, "doc.yaml:1:1")
            for id, options in components.items()
        },
        workflows={},
        default_workflow=None,
    )


def test_what_fits_has_no_misfits() -> None:
    fitting = plan(a=Options(num_gpus=0.5), b=Options(num_gpus=0.5, num_cpus=2), c=Options(memory=10**9, replicas=2))
    assert misfits(fitting, [SMALL, GPU]) == []


def test_more_gpus_than_a_node_has_says_who_asks_and_what_there_is() -> None:
    assert misfits(plan(writer=Options(num_gpus=2)), [SMALL, GPU]) == [
        "component 'writer' asks for 2 GPUs a replica, and the largest node has 1 GPU; lower its resources or add a node"
    ]


def test_a_gpu_where_there_is_none_is_told_of_the_only_node() -> None:
    assert misfits(plan(writer=Options(num_gpus=0.5)), [SMALL]) == [
        "component 'writer' asks for 0.5 GPUs a replica, and the cluster has 0 GPUs; lower its resources or add a node"
    ]


def test_another_kind_of_gpu_names_those_there_are() -> None:
    assert misfits(plan(writer=Options(num_gpus=1, accelerator_type="H100")), [GPU]) == [
        "component 'writer' asks for accelerator_type H100, and the cluster has L4; change its resources or add such a node"
    ]
    assert "the cluster has none" in misfits(plan(writer=Options(accelerator_type="H100")), [SMALL])[0]


def test_every_component_that_cant_be_placed_is_told() -> None:
    assert (
        len(misfits(plan(a=Options(num_gpus=9), b=Options(num_cpus=99), c=Options(memory=10**15)), [SMALL, GPU])) == 3
    )


def test_what_no_node_has_together_is_told() -> None:
    [reason] = misfits(plan(a=Options(num_gpus=1, num_cpus=16)), [{"CPU": 32.0}, GPU])
    assert reason == (
        "component 'a' asks for more than any one node has together: 1 GPU, 16 CPUs; lower its resources or add a node"
    )


def test_what_all_replicas_together_ask_too_much_of_is_told() -> None:
    [reason] = misfits(plan(a=Options(num_gpus=0.5, replicas=2), b=Options(num_gpus=0.5)), [GPU])
    assert reason.startswith(
        "the document asks for 1.5 GPUs in all, and the cluster has 1 GPU (component 'a' 1 GPU, component 'b' 0.5 GPUs)"
    )


def test_the_ingress_counts_too() -> None:
    [reason] = misfits(plan(Options(num_cpus=3, replicas=2)), [SMALL])
    assert "the ingress 6 CPUs" in reason


def test_halves_of_a_gpu_that_fill_it_fit() -> None:
    assert misfits(plan(**{f"c{n}": Options(num_gpus=0.1, num_cpus=0) for n in range(10)}), [GPU]) == []


def test_a_workflow_as_a_component_takes_nothing() -> None:
    assert misfits(plan(nested=Options(num_gpus=9)), [SMALL]) == []


def test_a_component_in_the_ingress_takes_nothing_of_its_own() -> None:
    placed = plan(Options(num_cpus=4), proxy=Options(num_cpus=0.1))
    assert len(misfits(placed, [SMALL])) == 1
    components = {id: replace(each, placement="ingress") for id, each in placed.components.items()}
    assert misfits(replace(placed, components=components), [SMALL]) == []


def test_an_autoscaled_component_is_counted_with_its_least() -> None:
    assert least_replicas(Options(autoscaling={"min": 2, "max": 9})) == 2
    assert least_replicas(Options(autoscaling={"min": 0, "max": 9})) == 0
    assert least_replicas(Options(autoscaling={"min": 1, "max": 9, "initial": 4})) == 4
    assert least_replicas(Options(replicas=3)) == 3
    assert least_replicas(Options()) == 1


def test_demands_are_named_as_ray_names_them() -> None:
    assert demands(Options(num_gpus=0.5, num_cpus=0, memory=100, accelerator_type="L4")) == {
        "GPU": 0.5, "memory": 100.0, "accelerator_type:L4": 0.001,
    }  # fmt: skip


def test_memory_is_told_in_gibibytes() -> None:
    [reason] = misfits(plan(a=Options(memory=64 * 2**30)), [SMALL])
    assert "asks for 64 GiB of memory a replica, and the cluster has 7.45 GiB of memory" in reason


def test_gpus_that_may_lie_apart_fit_where_the_nodes_have_enough_between_them() -> None:
    assert misfits(plan(writer=Options(num_gpus=2, spread=True)), [GPU, GPU]) == []
    [reason] = misfits(plan(writer=Options(num_gpus=3, spread=True)), [GPU, GPU])
    assert reason.startswith("the document asks for 3 GPUs in all, and the cluster has 2 GPUs")


def test_a_store_that_is_a_file_is_refused_where_there_are_several_nodes() -> None:
    assert far_store(plan(), [SMALL]) is None
    assert far_store(plan(), [SMALL, {}]) is None
    assert far_store(plan(), [SMALL, GPU]) == (
        "controller.store is the file /nowhere/runs.db, and the cluster has 2 nodes that don't share it; "
        "write controller.store: postgresql://user:password@host/database"
    )


def test_a_store_that_is_a_server_is_near_to_every_node() -> None:
    here = plan()
    served = replace(here, controller=replace(here.controller, store=Store("postgresql://db/runs")))
    assert far_store(served, [SMALL, GPU]) is None
