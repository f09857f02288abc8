"""A plan's workflows drawn: who calls what, who waits for whom, where a stream flows and where a choice leads."""

from __future__ import annotations

from textwrap import dedent

import pytest

from graphs.export import drawing
from tests.checker.compiling import compiled

PLAN = compiled(
    """
    components:
      - {id: echo, type: echo, default: true, text: "${input.text}", placement: ingress}
      - id: shop
        type: http-client
        base_url: https://example.com
        actions: [{id: list, path: /}, {id: buy, path: /b}]
        replicas: 2
      - {id: nested, type: workflow, workflow: small}
    workflows:
      - id: main
        title: The "main" one
        default: true
        jobs:
          - {id: route, type: if, condition: "${input.x}", if_true: draft, if_false: list}
          - {id: draft}
          - {id: list, component: shop, action: list, on_error: {to: sorry}}
          - {id: sorry}
          - {id: polish, input: {text: "${jobs.draft.output}"}, condition: "${input.polish}"}
          - {id: each, type: for-each, input: "${jobs.list.output.items}", do: {input: {text: "${item}"}}}
          - {id: pause, type: delay, duration: 1s, depends_on: [each, polish]}
          - {id: last, component: nested, depends_on: pause}
      - id: small
    """
)


def test_a_plan_as_text() -> None:
    assert drawing.text(PLAN) == dedent(
        """\
        main (default) — The "main" one
          route -> if
            draft -> echo, chosen by route
            list -> shop.list, chosen by route
              sorry -> echo, chosen by list
              polish -> echo, streams from draft, if ${input.polish}
              each -> for each, 8 at once: echo, after list
                pause -> delay, after each, polish
                  last -> workflow small, after pause

        small
          job -> echo

        Components:
          echo    echo         in the ingress
          shop    http-client  own deployment, 2 replicas
          nested  workflow     inside the run that calls it

        Runs that ask for it are kept in .anabranch/runs.db"""
    )


def test_a_plan_as_mermaid() -> None:
    assert drawing.mermaid(PLAN) == dedent(
        """\
        flowchart TD
          subgraph w0["The #quot;main#quot; one"]
            w0_0{"route: if"}
            w0_1["draft: echo"]
            w0_2["list: shop.list"]
            w0_3["sorry: echo"]
            w0_4["polish: echo"]
            w0_5["each: for each, 8 at once: echo"]
            w0_6["pause: delay"]
            w0_7["last: workflow small"]
            w0_0 -.-> w0_1
            w0_0 -.-> w0_2
            w0_2 -.-> w0_3
            w0_1 ==> w0_4
            w0_2 --> w0_5
            w0_5 --> w0_6
            w0_4 --> w0_6
            w0_6 --> w0_7
          end
          subgraph w1["small"]
            w1_0["job: echo"]
          end
          subgraph c["Components"]
            subgraph ingress["in the ingress"]
              c0["echo: echo"]
            end
            c1["shop: http-client, own deployment, 2 replicas"]
            c2["nested: workflow, inside the run that calls it"]
          end"""
    )


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ("", "own deployment"),
        ("replicas: 1", "own deployment"),
        ("replicas: 3", "own deployment, 3 replicas"),
        ("autoscaling: {min: 0, max: 4}", "own deployment, 0 to 4 replicas"),
        ("resources: {num_gpus: 1}", "own deployment, 1 GPU"),
        ("resources: {num_cpus: 2, memory: 8GiB}", "own deployment, 2 CPUs, 8 GiB of memory"),
        ("resources: {accelerator_type: L4}", "own deployment, L4"),
        (
            "replicas: 2, resources: {num_gpus: 0.5, memory: 1GiB, accelerator_type: L4}",
            "own deployment, 2 replicas, each with 0.5 GPUs (L4), 1 GiB of memory",
        ),
        ("placement: ingress", "in the ingress, 1 to 3 replicas"),
    ],
)
def test_a_component_is_drawn_where_it_runs_with_what_it_takes(keys: str, where: str) -> None:
    plan = compiled(
        f"""
        controller: {{autoscaling: {{max: 3}}, resources: {{num_cpus: 2}}}}
        component: {{id: say, type: echo, text: hi, {keys}}}
        """
    )
    assert drawing.text(plan).partition("\n\nRuns ")[0].endswith(f"Components:\n  say  echo  {where}")
    assert ("ingress" in drawing.mermaid(plan)) == ("ingress" in keys)


def test_a_component_written_inside_a_job_is_drawn_under_its_own_id() -> None:
    plan = compiled("workflow: {id: main, job: {component: {type: echo, text: hi}}}\n")
    assert drawing.text(plan).partition("\n\nRuns ")[0].endswith("Components:\n  main-job  echo  own deployment")


def test_a_document_without_components_is_drawn_without_them() -> None:
    plan = compiled("workflow: {id: main, type: delay, duration: 1}\n")
    assert drawing.text(plan) == "main\n  job -> delay\n\nRuns that ask for it are kept in .anabranch/runs.db"
    assert "Components" not in drawing.mermaid(plan)


def test_what_a_job_that_is_tried_again_reads_is_drawn_as_waited_for() -> None:
    plan = compiled(
        """
        component: {type: echo, text: "${input.text}"}
        workflow: {jobs: [{id: a}, {id: b, retry: 3, input: {text: "${jobs.a.output}"}}]}
        """
    )
    assert "b -> component, after a" in drawing.text(plan)
    assert "w0_0 --> w0_1" in drawing.mermaid(plan)


def test_a_title_cant_break_out_of_its_label() -> None:
    plan = compiled("component: {type: echo, text: hi}\nworkflow: {title: 'a \"] #b <c>\n\n  d'}\n")
    assert 'subgraph w0["a #quot;] #35;b #lt;c> d"]' in drawing.mermaid(plan)


def test_a_long_chain_is_drawn() -> None:
    chain = ", ".join(f"{{id: j{n}, depends_on: j{n - 1}}}" for n in range(1, 1500))
    plan = compiled(f"component: {{type: echo, text: hi}}\nworkflow: {{jobs: [{{id: j0}}, {chain}]}}\n")
    assert "j1499 -> component, after j1498" in drawing.text(plan)


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("{record: all}", "All runs are kept in .anabranch/runs.db"),
        ("sqlite:////var/lib/runs.db", "Runs that ask for it are kept in /var/lib/runs.db"),
        (
            "postgres://anna:secret@db.example.com:5432/runs?password=secret",
            "Runs that ask for it are kept in postgresql://db.example.com:5432/runs",
        ),
    ],
)
def test_where_runs_are_kept_is_told_without_the_password(store: str, said: str) -> None:
    plan = compiled(f"controller:\n  store: {store}\ncomponent: {{type: echo, text: hi}}\n")
    assert drawing.text(plan).rpartition("\n\n")[2] == said
