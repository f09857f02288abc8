"""What the vendors' APIs may name as a model, and what runs then."""

from __future__ import annotations

from typing import Any

from graphs.language import Scope, evaluate
from graphs.plan import CallJob, Plan
from tests.checker.compiling import compiled

CHAT = """
component:
  id: qwen
  type: model
  task: chat-completion
  model: Qwen/Qwen2.5-0.5B-Instruct
  streaming: true
  messages: ${input.messages}
  max_input_length: 100
  params: {temperature: 0.3, max_output_length: 50}
"""


def called(plan: Plan, model: str, use: Any, request: dict[str, Any]) -> Any:
    """What the component of a model gets of a request."""
    workflow = plan.workflow(plan.models[model].uses[use])
    assert workflow is not None
    (job,) = workflow.jobs.values()
    assert isinstance(job, CallJob)
    action = plan.components[job.call.component].actions[job.call.action]
    return evaluate(action.input, Scope({"input": request}))


def test_a_component_is_a_model_by_its_id_and_by_its_name_on_the_hub() -> None:
    plan = compiled(CHAT, "workflow: {id: chat, output: '${output}'}")
    assert list(plan.models) == ["chat", "qwen", "Qwen/Qwen2.5-0.5B-Instruct"]
    assert not plan.models["chat"].is_component
    assert plan.models["qwen"] == plan.models["Qwen/Qwen2.5-0.5B-Instruct"]
    assert set(plan.models["qwen"].uses) == {"chat", "completion", "count"}


def test_a_workflow_wins_over_a_component_of_its_name() -> None:
    assert not compiled(CHAT, "workflow: {id: qwen, output: '${output}'}").models["qwen"].is_component


def test_without_workflows_a_component_stands_for_itself() -> None:
    assert compiled(CHAT).models["qwen"].is_component


def test_no_list_shows_the_workflows_that_call_a_model() -> None:
    plan = compiled(CHAT)
    assert list(plan.workflows) == ["qwen"]
    assert set(plan.doors) == {"qwen:chat", "qwen:completion", "qwen:count"}


def test_an_alias_is_another_name_of_a_model() -> None:
    plan = compiled(CHAT, "controller: {models: {gpt-4o: qwen, davinci: Qwen/Qwen2.5-0.5B-Instruct}}")
    assert plan.models["gpt-4o"] == plan.models["davinci"] == plan.models["qwen"]


def test_what_the_request_leaves_out_the_document_says() -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "stream": False, "max_tokens": 5}
    said = {name: value for name, value in called(compiled(CHAT), "qwen", "chat", asked).items() if value is not None}
    params = {name: value for name, value in said.pop("params").items() if value is not None}
    assert params == {"temperature": 0.3, "max_output_length": 5, "fit_output": True}
    assert said == {"messages": asked["messages"], "streaming": False, "answer": "message", "max_input_length": 100}


def test_a_text_to_continue_is_no_conversation() -> None:
    said = called(compiled(CHAT), "qwen", "completion", {"prompt": "Once", "messages": ["never read"]})
    assert said["text"] == "Once"
    assert said.get("messages") is None


def test_embeddings_are_all_that_an_embedding_model_offers() -> None:
    plan = compiled("component: {id: vectors, type: model, task: text-embedding, model: a/b, text: '${input.text}'}")
    assert set(plan.models["vectors"].uses) == {"embedding"}
    assert called(plan, "a/b", "embedding", {"input": ["one"]})["text"] == ["one"]


def test_each_of_several_models_is_named_by_its_own_name() -> None:
    plan = compiled(
        """
        component:
          id: two
          type: model
          task: text-generation
          models: [a/one, b/two]
          text: ${input.text}
          action: {model: b/two}
        """
    )
    assert set(plan.models) == {"two", "a/one", "b/two"}
    request = {"prompt": "Once"}
    assert [called(plan, name, "completion", request)["model"] for name in ("two", "a/one", "b/two")] == [
        "b/two", "a/one", "b/two",
    ]  # fmt: skip


def test_a_component_that_offers_nothing_is_a_model_by_its_workflow() -> None:
    plan = compiled("component: {id: echo, type: echo, text: '${input.text}'}")
    assert {name: model.is_component for name, model in plan.models.items()} == {"echo": False}
