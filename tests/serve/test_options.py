"""What Ray Serve is asked for, and when it restarts replicas."""

import warnings
from dataclasses import replace

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from ray.serve._private.deploy_utils import get_deploy_args
    from ray.serve.generated.serve_pb2 import DeploymentConfig

from deployments.components.echo import Echo
from deployments.serve.options import serve_options
from deployments.serve.worker import bind
from graphs.language import parse
from graphs.language.nodes import MappingTemplate
from graphs.plan import ActionPlan, ComponentPlan, Options

ACTION = ActionPlan("say", MappingTemplate((("text", parse("${input.text}")),)), None)
PLAN = ComponentPlan("echo", "echo", {}, {"say": ACTION}, "say", Options(), "a.yaml:1:1")


def version(plan: ComponentPlan, secrets: frozenset[str] = frozenset()) -> str:
    """Return the version that Ray's controller is sent when the application's own is `app`."""
    deployment = bind(plan, Echo, secrets)._bound_deployment.options(name="echo")
    config = deployment._deployment_config
    config.version = "app"
    return DeploymentConfig.FromString(config.to_proto_bytes()).version


def test_resources_and_limits_become_rays_options():
    options = Options(
        num_gpus=0.5, num_cpus=2.0, memory=1024, accelerator_type="H100", replicas=3,
        max_concurrent_count=7, max_queued=9, runtime_env={"env_vars": {"A": "1"}},
    )  # fmt: skip
    asked = serve_options(options)
    assert asked["ray_actor_options"] == {
        "num_gpus": 0.5, "num_cpus": 2.0, "memory": 1024, "accelerator_type": "H100",
        "runtime_env": {"env_vars": {"A": "1"}},
    }  # fmt: skip
    assert (asked["num_replicas"], asked["max_ongoing_requests"], asked["max_queued_requests"]) == (3, 7, 9)


def test_autoscaling_takes_the_place_of_replicas():
    asked = serve_options(Options(autoscaling={"min": 0, "max": 4, "initial": 1, "upscale_delay": 2.0}))
    assert "num_replicas" not in asked
    assert asked["autoscaling_config"] == {
        "min_replicas": 0, "max_replicas": 4, "initial_replicas": 1, "upscale_delay_s": 2.0,
    }  # fmt: skip


def test_gpus_that_may_lie_apart_get_a_bundle_each_and_the_replica_lies_in_the_first():
    asked = serve_options(Options(num_gpus=3, num_cpus=2.0, memory=1024, accelerator_type="H100", spread=True))
    assert asked["ray_actor_options"] == {"num_cpus": 2.0, "memory": 1024, "accelerator_type": "H100"}
    assert asked["placement_group_bundles"] == [
        {"GPU": 1.0, "accelerator_type:H100": 0.001, "CPU": 2.0, "memory": 1024.0},
        {"GPU": 1.0, "accelerator_type:H100": 0.001},
        {"GPU": 1.0, "accelerator_type:H100": 0.001},
    ]
    assert asked["placement_group_strategy"] == "PACK"


def test_gpus_that_belong_together_need_no_bundles():
    asked = serve_options(Options(num_gpus=3))
    assert asked["ray_actor_options"]["num_gpus"] == 3
    assert "placement_group_bundles" not in asked


def test_every_option_is_one_that_serve_takes():
    for options in (
        Options(max_queued=0),
        Options(autoscaling={"min": 1, "max": 2, "look_back_period": 20.0}),
        Options(num_gpus=2, spread=True),
    ):
        assert bind(replace(PLAN, options=options), Echo, frozenset())._bound_deployment.name == "echo"


def test_a_component_that_only_moved_in_its_file_keeps_its_version():
    assert version(replace(PLAN, where="a.yaml:99:1")) == version(PLAN)


def test_options_that_ray_compares_itself_do_not_change_the_version():
    assert version(replace(PLAN, options=Options(replicas=3))) == version(PLAN)


def test_what_a_replica_runs_changes_its_version():
    other = ActionPlan("say", MappingTemplate((("text", parse("${input.words}")),)), None)
    changed = [
        replace(PLAN, config={"a": 1}),
        replace(PLAN, actions={"say": other}),
        replace(PLAN, actions={"say": ACTION._replace(output=parse("${result}!"))}),
    ]
    versions = [version(PLAN), version(PLAN, frozenset({"secret"})), *map(version, changed)]
    assert len(set(versions)) == len(versions)
    assert "app" not in versions


def test_what_ray_writes_into_every_deployment_does_not_reach_ours(monkeypatch):
    import ray.serve._private.deploy_utils as deploying

    class Context:
        def get_job_id(self) -> str:
            return "01"

    monkeypatch.setattr(deploying.ray, "get_runtime_context", Context)
    deployment = bind(PLAN, Echo, frozenset())._bound_deployment
    sent = get_deploy_args(
        "echo", deployment._replica_config, deployment_config=deployment._deployment_config, version="app"
    )
    assert DeploymentConfig.FromString(sent["deployment_config_proto_bytes"]).version == version(PLAN)
