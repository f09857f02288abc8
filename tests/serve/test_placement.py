"""What a document asks of the cluster is what its replicas get, seen from inside them; what can't be had is refused."""

import asyncio
import textwrap
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from ray import serve
from ray.serve.context import _get_global_client

from deployments.components import registry
from graphs.app import BuildArgs, build, compose
from graphs.errors import Unavailable
from graphs.load import load_inline
from graphs.plan import Plan
from tests.serve.api import Api, calling, until
from tests.serve.drill import Drill

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPES = {**registry(), "drill": Drill}

DOCUMENT = """
    controller:
      replicas: 2
      max_concurrent_count: 50
      max_queued: 10
      runtime_env: {env_vars: {DRILL_SAYS: ingress}}
    components:
      - id: wholes
        type: drill
        resources: {num_gpus: 1, memory: 100MiB}
        replicas: 2
        action: {do: where}
      - id: left
        type: drill
        resources: {num_gpus: 0.5}
        runtime_env: {env_vars: {DRILL_SAYS: 안녕}}
        max_concurrent_count: 7
        max_queued: 3
        action: {do: where}
      - id: none
        type: drill
        action: {do: where}
      - id: said
        type: drill
        runtime_env: {env_vars: {CUDA_VISIBLE_DEVICES: "2"}}
        action: {do: where}
      - id: right
        type: drill
        resources: {num_gpus: 0.5, num_cpus: 0.25}
        autoscaling:
          min: 1
          max: 4
          target_ongoing_requests: 9
          upscale_delay: 500ms
          downscale_delay: 2m
        action: {do: where}
"""


def plan(document: str) -> Plan:
    return load_inline(textwrap.dedent(document), TYPES, {})


@pytest.fixture(scope="module")
def deployed(cluster: str) -> str:
    serve.run(compose(plan(DOCUMENT), TYPES), name="placed", route_prefix="/")
    return cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(deployed: str) -> AsyncIterator[Api]:
    async with calling(deployed) as api:
        yield api


@pytest.fixture
def asked(deployed: str) -> dict:
    """What Serve was asked for, deployment by deployment, as its REST API shows it."""
    details = _get_global_client().get_serve_details()["applications"]["placed"]["deployments"]
    return {id: each["deployment_config"] for id, each in details.items()}


async def seen(api: Api, component: str, calls: int = 1) -> dict[int, dict]:
    """What the replicas that answer so many calls say of themselves, by their process."""
    answers = await asyncio.gather(*(api.run(component) for _ in range(calls)))
    return {each.json()["pid"]: each.json() for each in answers}


async def test_replicas_of_one_gpu_each_get_a_gpu_of_their_own(api):
    replicas = await until(lambda: seen(api, "wholes", calls=20), lambda found: len(found) == 2)
    gpus = [each["gpus"] for each in replicas.values()]
    assert len(set(gpus)) == 2
    assert set(gpus) < {"0", "1", "2"}


async def test_two_half_gpu_components_share_the_one_that_is_left(api):
    (left,) = (await seen(api, "left")).values()
    (right,) = (await seen(api, "right")).values()
    wholes = await until(lambda: seen(api, "wholes", calls=20), lambda found: len(found) == 2)
    assert left["pid"] != right["pid"]
    assert left["gpus"] == right["gpus"]
    assert left["gpus"] not in {each["gpus"] for each in wholes.values()}


async def test_a_replica_that_asks_for_no_gpu_sees_none_unless_its_document_says_so(api):
    assert [each["gpus"] for each in (await seen(api, "none")).values()] == [""]
    assert [each["gpus"] for each in (await seen(api, "said")).values()] == ["2"]


async def test_environment_variables_reach_the_replicas_of_their_component_alone(api):
    assert [each["says"] for each in (await seen(api, "left")).values()] == ["안녕"]
    assert [each["says"] for each in (await seen(api, "right")).values()] == [None]


async def test_every_replica_of_the_ingress_answers_over_a_connection_of_its_own(api):
    async def channels() -> int:
        (replica,) = (await seen(api, "left")).values()
        return replica["channels"]

    await until(channels, lambda count: count == 2)


async def test_resources_arrive_in_serve_s_configuration(asked):
    options = asked["wholes"]["ray_actor_options"]
    assert (options["num_gpus"], options["num_cpus"], options["memory"]) == (1, 0.1, 100 * 2**20)
    assert asked["right"]["ray_actor_options"]["num_cpus"] == 0.25
    assert asked["wholes"]["num_replicas"] == 2


async def test_limits_arrive_in_serve_s_configuration(asked):
    assert (asked["left"]["max_ongoing_requests"], asked["left"]["max_queued_requests"]) == (7, 3)


async def test_the_ingress_takes_more_than_its_runs_so_that_refusals_and_health_checks_get_in(asked):
    assert asked["Ingress"]["num_replicas"] == 2
    assert asked["Ingress"]["max_ongoing_requests"] > 60
    assert asked["Ingress"]["ray_actor_options"]["runtime_env"]["env_vars"] == {"DRILL_SAYS": "ingress"}


async def test_autoscaling_arrives_in_serve_s_configuration(asked):
    autoscaling = asked["right"]["autoscaling_config"]
    assert {
        name: autoscaling[name]
        for name in ("min_replicas", "max_replicas", "target_ongoing_requests", "upscale_delay_s", "downscale_delay_s")
    } == {
        "min_replicas": 1,
        "max_replicas": 4,
        "target_ongoing_requests": 9,
        "upscale_delay_s": 0.5,
        "downscale_delay_s": 120,
    }


ONE = "component: {{id: big, type: echo, action: {{text: hi}}, {}}}"


@pytest.mark.parametrize(
    ("asks", "message"),
    [
        ("resources: {num_gpus: 4}", r"component 'big' asks for 4 GPUs a replica, and the cluster has 3 GPUs"),
        ("resources: {num_gpus: 2}, replicas: 2", r"asks for 4 GPUs in all, and the cluster has 3 GPUs"),
        ("resources: {num_cpus: 9}", r"component 'big' asks for 9 CPUs a replica, and the cluster has 8 CPUs"),
        ("resources: {accelerator_type: H100}", r"component 'big' asks for accelerator_type H100, and the cluster has"),
        ("autoscaling: {min: 2, max: 3}, resources: {num_gpus: 2}", r"asks for 4 GPUs in all"),
    ],
)
async def test_what_the_cluster_can_never_place_is_refused_with_what_there_is(cluster, asks, message):
    document = ONE.format(asks)
    with pytest.raises(Unavailable, match=message):
        compose(plan(document), TYPES)
    with pytest.raises(Unavailable, match=message):
        build(BuildArgs(document=document))


async def test_where_nodes_may_still_be_added_nothing_is_refused(cluster):
    assert build(BuildArgs(document=ONE.format("resources: {num_gpus: 4}"), check_placement=False)) is not None
