"""What is used of Ray's private side: that this Ray has it, and that a Ray without it is refused."""

import asyncio
import inspect
import warnings
from types import SimpleNamespace

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    import ray
    from ray import serve

    from deployments.serve import command, ports, ray_internals

from deployments.serve.options import serve_options
from graphs.errors import Unavailable
from graphs.plan import Options


def test_this_ray_has_all_that_is_used():
    ray_internals.check()


class Plain:
    def __init__(self) -> None: ...

    def options(self) -> None: ...

    async def call_destructor(self) -> None: ...


@pytest.mark.parametrize(
    ("used", "missing"),
    [
        ("DeploymentHandle", "the option _by_reference of handles"),
        ("_DeploymentResponseBase", "the attribute _replica_result of responses"),
        ("UserCallableWrapper", "a look for __del__ when a replica shuts down"),
        ("api", "a start of Serve that doesn't wait"),
        ("ServeControllerClient", "a way to wait for the proxies"),
        ("DeploymentConfig", "the field version of DeploymentConfig"),
        ("Application", "the attribute _bound_deployment of applications"),
        ("Deployment", "the attribute _deployment_config of deployments"),
    ],
)
def test_a_ray_that_lacks_something_is_refused_with_its_version(monkeypatch, used: str, missing: str):
    monkeypatch.setattr(Plain, "model_fields", {}, raising=False)
    monkeypatch.setattr(ray_internals, used, Plain)
    with pytest.raises(Unavailable, match=f"^Ray {ray.__version__} no longer has {missing}; see the range"):
        ray_internals.check()


def test_every_flag_of_the_command_is_one_that_ray_reads():
    flags = {**command.FAST_FLAGS, **command.DRAINING, **command.OWN_FLAGS, **dict.fromkeys(ports.OWN_PORTS, "1234")}
    with pytest.raises(Unavailable) as refused:
        ray_internals.require_flags({**flags, "RAY_SERVE_ENABLE_HAPROXY": "1"})
    # Ray is imported here with flags of its own: only those it never reads are unknown.
    constants = vars(ray_internals.constants)
    assert [flag for flag in flags if ray_internals.READ_INTO.get(flag, flag) not in constants] == []
    assert "RAY_SERVE_ENABLE_HAPROXY" in refused.value.message


def test_a_flag_counts_as_read_when_its_value_is_the_one_that_was_set(monkeypatch):
    read = SimpleNamespace(FLAG=True, OTHER=False, PORT=8404, PERIOD=1.0)
    monkeypatch.setattr(ray_internals, "constants", read)
    ray_internals.require_flags({"FLAG": "1", "OTHER": "0", "PORT": "8404", "PERIOD": "1"})
    with pytest.raises(Unavailable, match=rf"^Ray {ray.__version__} doesn't read FLAG, PORT, RENAMED; see the range"):
        ray_internals.require_flags({"FLAG": "0", "PORT": "8405", "PERIOD": "1", "RENAMED": "1"})


def test_a_pinned_version_stays_what_ray_would_write_over():
    app = ray_internals.pin_version(serve.deployment(**serve_options(Options()))(Plain).bind(), "v1")
    config = app._bound_deployment._deployment_config
    config.version = "v2"
    assert config.version == "v1"
    config.max_ongoing_requests = 7
    assert config.max_ongoing_requests == 7


@pytest.mark.parametrize("assigned", [True, False])
def test_a_call_is_cancelled_where_it_was_assigned(assigned: bool):
    cancelled = []
    result = SimpleNamespace(cancel=lambda: cancelled.append(True)) if assigned else None
    ray_internals.cancel_assigned(SimpleNamespace(_replica_result=result))
    assert cancelled == [True] * assigned


async def test_close_is_awaited_as_ray_does_when_the_replica_shuts_down():
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    replica = Plain()
    ray_internals.close_with_replica(replica, close)
    wrapper = SimpleNamespace(
        _callable=replica,
        _destructor_called=False,
        _user_code_threadpool=None,
        _call_func_or_gen=lambda function, **_: function(),
    )
    await inspect.unwrap(ray_internals.UserCallableWrapper.call_destructor)(wrapper)
    assert closed.is_set()
