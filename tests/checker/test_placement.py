"""Where components run: as they say themselves, else as the controller says of the types that may be in the ingress."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from deployments.components import registry
from graphs.checker import check
from graphs.component import ActionInput, Chunk, Component, ComponentConfig
from graphs.plan import Plan
from graphs.source import DocumentError, Source
from tests.checker.compiling import compiled, messages

ECHO = "component: {id: it, type: echo, text: hi, %s}\n"
IN_INGRESS = "controller: {placement: ingress}\n"


def places(plan: Plan) -> dict[str, str]:
    return {id: each.placement for id, each in plan.components.items()}


def test_a_component_has_a_deployment_of_its_own_unless_it_says_otherwise() -> None:
    assert places(compiled("component: {id: it, type: echo, text: hi}\n")) == {"it": "own"}
    assert places(compiled(ECHO % "placement: own")) == {"it": "own"}
    assert places(compiled(ECHO % "placement: ingress")) == {"it": "ingress"}


def test_the_types_that_may_be_in_the_ingress_are_the_light_ones() -> None:
    assert {name for name, cls in registry().items() if cls.light} == {"echo", "http-client"}


def test_the_controllers_placement_is_the_default_of_light_types_alone() -> None:
    plan = compiled(
        """
        controller: {placement: ingress}
        components:
          - {id: say, type: echo, text: hi}
          - {id: ask, type: http-client, endpoint: "https://example.com"}
          - {id: model, type: model, task: text-generation, model: gpt2, text: hi}
          - {id: server, type: http-server, start: serve, port: 9000, path: /}
          - {id: nested, type: workflow, workflow: main}
        workflows:
          - {id: main, job: {component: {id: inline, type: echo, text: hi}}}
          - {id: all, jobs: [{id: a, component: say}, {id: b, component: nested}]}
        """
    )
    assert places(plan) == {
        "say": "ingress", "ask": "ingress", "model": "own", "server": "own", "nested": "own", "inline": "ingress",
    }  # fmt: skip


def test_a_components_own_placement_wins_over_the_controllers() -> None:
    assert places(compiled(IN_INGRESS + ECHO % "placement: own")) == {"it": "own"}
    assert places(compiled("controller: {placement: own}\n" + ECHO % "placement: ingress")) == {"it": "ingress"}


@pytest.mark.parametrize(
    "key", ["resources: {num_cpus: 1}", "replicas: 2", "autoscaling: {max: 2}", "runtime_env: {env_vars: {A: b}}"]
)
def test_a_component_that_says_what_its_deployment_is_like_keeps_it_under_the_controllers_default(key: str) -> None:
    assert places(compiled(IN_INGRESS + ECHO % key)) == {"it": "own"}


@pytest.mark.parametrize("key", ["max_concurrent_count: 3, max_queued: 2", "replicas: null", "placement: null"])
def test_limits_and_what_is_left_out_keep_no_component_from_the_ingress(key: str) -> None:
    assert places(compiled(IN_INGRESS + ECHO % key)) == {"it": "ingress"}


def test_limits_stand_beside_a_placement_in_the_ingress() -> None:
    options = compiled(ECHO % "placement: ingress, max_concurrent_count: 3, max_queued: 2").components["it"].options
    assert (options.max_concurrent_count, options.max_queued) == (3, 2)


def test_a_later_document_changes_where_components_run() -> None:
    below = "controller: {placement: own}\ncomponent: {id: it, type: echo, text: hi}\n"
    assert places(compiled(below, IN_INGRESS)) == {"it": "ingress"}


def test_the_environment_may_say_where_components_run() -> None:
    written = "controller: {placement: '${env.PLACE | own}'}\n" + ECHO % "max_queued: 1"
    assert places(compiled(written)) == {"it": "own"}
    assert places(compiled(written, env={"PLACE": "ingress"})) == {"it": "ingress"}


def test_a_wrong_placement_hides_no_mistake_of_the_jobs_that_call_the_component() -> None:
    found = messages(
        """
        component: {id: it, type: echo, text: "${input.text}", placement: ingress, replicas: 2}
        workflow: {job: {component: it, action: other}}
        """
    )
    assert len(found) == 2
    assert "action" in found[1]


class Plug(Component[ComponentConfig, ActionInput]):
    type = "plug"

    async def run(self, input: ActionInput) -> AsyncIterator[Chunk]:
        yield "hi"


class PortConfig(ComponentConfig):
    port: int = 0


class LightPlug(Plug):
    type = "light-plug"
    Config = PortConfig
    light = True
    exclusive = frozenset({"port"})

    @classmethod
    def closing_time(cls, config: Mapping[str, Any]) -> float:
        return 5.0 + config.get("port", 0)


def plugged(text: str) -> Plan:
    return check([Source("t.yaml", text)], {**registry(), "plug": Plug, "light-plug": LightPlug}, {}.get)


def test_a_plug_in_may_be_in_the_ingress_once_its_type_says_that_it_is_light() -> None:
    assert places(plugged("component: {id: it, type: light-plug, placement: ingress}\n")) == {"it": "ingress"}
    assert places(plugged(IN_INGRESS + "components: [{id: a, type: light-plug}, {id: b, type: plug}]\n")) == {
        "a": "ingress", "b": "own",
    }  # fmt: skip
    with pytest.raises(DocumentError) as caught:
        plugged("component: {type: plug, placement: ingress}\n")
    [mistake] = caught.value.diagnostics
    assert mistake.message == "type 'plug' can't be placed in the ingress: it needs a process of its own"
    assert mistake.hint == "remove placement, or write own. Types that can: echo, http-client, light-plug."


def test_the_ingress_is_given_the_time_that_the_slowest_component_in_it_needs_to_close() -> None:
    components = "components: [{id: a, type: light-plug, port: 1}, {id: b, type: light-plug, port: 2%s}]\n"
    assert plugged(components % "").controller.options.closing_time == 0
    assert plugged(IN_INGRESS + components % "").controller.options.closing_time == 7
    assert plugged(IN_INGRESS + components % ", placement: own").controller.options.closing_time == 6


def test_two_components_in_the_ingress_cant_share_what_only_one_can_use() -> None:
    with pytest.raises(DocumentError, match="component 'b' has port 1, and component 'a' has it too"):
        plugged(IN_INGRESS + "components: [{id: a, type: light-plug, port: 1}, {id: b, type: light-plug, port: 1}]\n")
