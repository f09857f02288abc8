"""What the component types know to be wrong before anything runs, and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from deployments.components import registry
from deployments.components.http_client import HttpClient
from deployments.components.http_server import HttpServer
from deployments.components.model import Model
from graphs.component import Setup, Unknown
from graphs.errors import ComponentFailed

BINDING = Unknown()


def mistakes(cls: Any, config: dict[str, Any], action: dict[str, Any]) -> dict[str, str]:
    return dict(cls.check(config, action))


def model(task: str = "text-generation", config: dict[str, Any] | None = None, **action: Any) -> dict[str, str]:
    reads = {"messages": [{"role": "user", "content": "hi"}]} if task == "chat-completion" else {"text": "hi"}
    return mistakes(Model, {"task": task, "model": "gpt2", **(config or {})}, {**reads, **action})


def refused(cls: Any, written: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as invalid:
        cls.model_validate(written)
    return str(invalid.value)


# model


@pytest.mark.parametrize("task", ["text-generation", "chat-completion", "translation", "summarization"])
def test_a_model_as_the_guide_writes_it_is_right(task: str):
    assert model(task, streaming=True, batch_size=1, params={"num_beams": 1, "max_output_length": 100}) == {}


@pytest.mark.parametrize("streaming", [True, "yes", 1])
@pytest.mark.parametrize(
    ("action", "field", "hint"),
    [
        ({"batch_size": 4}, "batch_size", "write `batch_size: 1`"),
        ({"params": {"num_beams": 4}}, "params.num_beams", "write `num_beams: 1`"),
        ({"text": ["a", "b"]}, "text", "write one text, or `streaming: false`"),
    ],
)
def test_a_stream_carries_one_answer(streaming: Any, action: dict[str, Any], field: str, hint: str):
    assert hint in model(streaming=streaming, **action)[field]


@pytest.mark.parametrize("streaming", [False, "off", None, BINDING])
def test_batches_and_beams_are_fine_where_the_document_does_not_stream(streaming: Any):
    assert model(streaming=streaming, text=["a"], batch_size=4, params={"num_beams": 4}) == {}


@pytest.mark.parametrize("task", ["text-embedding", "text-classification"])
def test_tasks_that_answer_at_once_cannot_stream(task: str):
    assert "can't stream" in model(task, streaming=True)["streaming"]


def test_each_task_says_what_it_reads():
    config = {"task": "chat-completion", "model": "gpt2"}
    assert "needs 'messages'; write `messages: - {role: user" in mistakes(Model, config, {"text": "hi"})["text"]
    config["task"] = "translation"
    assert "needs 'text'; write `text: ${input.text as text}`" in mistakes(Model, config, {})["messages"]
    assert "leave 'text' out" in model("chat-completion", text="hi")["text"]


@pytest.mark.parametrize(
    "given",
    [
        {"tools": [{"type": "function", "function": {"name": "rain"}}]},
        {"tool_choice": "auto"},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_only_chat_knows_is_refused_elsewhere(given: dict[str, Any]):
    (field,) = given
    assert "is for the task chat-completion" in model(**given)[field]
    assert model("chat-completion", **given) == {}


def test_a_message_is_what_only_chat_answers_with():
    assert "answers in text" in model(answer="message")["answer"]
    assert model("chat-completion", answer="message") == {}


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"tools": [{"function": {"name": "a b"}}]}, "tools.0.function.name", "expected a name"),
        ({"tool_choice": "requierd"}, "tool_choice", "did you mean 'required'?"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"response_format": {"type": "jsn_schema"}}, "response_format.type", "did you mean 'json_schema'?"),
    ],
)
def test_how_tools_and_formats_are_asked_for_is_judged_before_anything_runs(given: Any, field: str, said: str):
    assert said in model("chat-completion", **given)[field]
    assert model("chat-completion", **dict.fromkeys(given, BINDING)) == {}


def test_a_call_and_a_format_cannot_both_be_demanded():
    tools = [{"type": "function", "function": {"name": "rain"}}]
    given = {"tools": tools, "tool_choice": "required", "response_format": {"type": "json_object"}}
    assert "keep one of them" in model("chat-completion", **given)["response_format"]


def test_options_that_no_one_reads_are_told():
    assert "did you mean 'revision'?" in model(config={"options": {"revison": "main"}})["options.revison"]
    assert "above zero, got 0" in model(config={"options": {"max_batch_size": 0}})["options.max_batch_size"]
    assert "did you mean 'hermes'?" in model(config={"options": {"tool_parser": "hermse"}})["options.tool_parser"]
    assert model(config={"options": {"revision": "main", "max_batch_size": 8, "max_model_len": 512}}) == {}
    assert model(config={"driver": "vllm", "options": {"revison": "main"}}) == {}  # vLLM itself judges its options


def test_vllm_has_no_beams_and_shares_no_replica():
    vllm = {"driver": "vllm"}
    assert "has no beam search" in model(config=vllm, params={"num_beams": 4})["params.num_beams"]
    several = {**vllm, "model": None, "models": ["a", "b"]}
    assert "takes all memory for one model" in model(config=several, model="a")["models"]


def test_how_many_models_are_loaded_is_said_of_several():
    assert "leave it out with one `model`" in model(config={"max_models": 1})["max_models"]


def test_a_folder_among_models_is_called_as_it_is_written_or_by_its_name():
    several = {"model": None, "models": ["/srv/models/tiny", "gpt2", "/srv/other/tiny"]}
    assert model(config=several, model="models/tiny") == model(config=several, model="./models/tiny") == {}
    assert "has no model 'tiny'" in model(config=several, model="tiny")["model"]  # there are two


@pytest.mark.parametrize(
    ("config", "resources", "field", "said"),
    [
        (
            {"device": "cuda"},
            {},
            "device",
            "needs a GPU, and the replicas ask for none; write `resources: {num_gpus: 1}`",
        ),
        ({"device": "cuda:1"}, {"num_gpus": 1}, "device", "write `resources: {num_gpus: 2}`"),
        (
            {"driver": "vllm", "options": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}},
            {"num_gpus": 2},
            "options.tensor_parallel_size",
            "split over 4 GPUs, and the replicas ask for 2; write `resources: {num_gpus: 4}`",
        ),
    ],
)
def test_a_gpu_that_is_used_must_be_asked_for(config: Any, resources: Any, field: str, said: str):
    assert said in dict(Model.check_placement(config, resources))[field]


@pytest.mark.parametrize(
    ("config", "resources"),
    [
        ({"device": "cpu"}, {}),
        ({"device": "cuda"}, {"num_gpus": 0.5}),
        ({"device": "cuda:1"}, {"num_gpus": 2}),
        ({"driver": "vllm"}, {}),
        ({"driver": "vllm", "options": {"tensor_parallel_size": 2}}, {"num_gpus": 2}),
        ({"device": "cuda"}, {"num_gpus": BINDING}),
    ],
)
def test_gpus_that_are_asked_for_may_be_used(config: Any, resources: Any):
    assert dict(Model.check_placement(config, resources)) == {}


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:one", "CPU"])
def test_a_device_has_a_name_that_is_known(device: str):
    assert "expected cpu, cuda, cuda:1" in refused(Model.Config, {"task": "summarization", "device": device})


def test_a_text_may_stand_for_a_conversation():
    asked: Any = Model.Input.model_validate({"messages": "Hello"})
    assert [message.model_dump(exclude_none=True) for message in asked.messages] == [
        {"role": "user", "content": "Hello"}
    ]


def test_a_component_has_one_model_or_several_and_an_action_says_which():
    assert "needs a model" in model(config={"model": None})["model"]
    assert "exclude each other" in model(config={"models": ["a"]})["models"]
    several = {"model": None, "models": ["a", "b"]}
    assert "must say which" in model(config=several)["models"]
    assert "no model 'c'; write one of a, b" in model(config=several, model="c")["model"]
    assert model(config=several, model="b") == model(config=several, model=BINDING) == {}


def test_the_least_length_is_not_above_the_most():
    assert "is above" in model(params={"min_output_length": 5, "max_output_length": 4})["params.min_output_length"]
    assert model(params={"min_output_length": 5, "max_output_length": BINDING}) == {}


@pytest.mark.parametrize(
    "message",
    [{"content": "hi"}, {"role": "user"}, {"role": "user", "content": None}, "hi", {"role": "robot", "content": "hi"}],
)
def test_a_message_has_a_known_role_and_a_content(message: Any):
    assert "write {role: user, content: …}" in refused(Model.Input, {"messages": [message]})


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "5", "tool_call_id": "1"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ],
)
def test_messages_of_every_kind_are_taken(message: dict[str, Any]):
    assert Model.Input.model_validate({"messages": [message]})


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": -0.1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"num_beams": 0}, {"max_output_length": 0},
        {"repetition_penalty": 0}, {"seed": "x"}, {"stop": 5}, {"max_new_tokens": 5},
    ],
)  # fmt: skip
def test_params_that_make_no_sense_are_refused(params: dict[str, Any]):
    assert next(iter(params)) in refused(Model.Input, {"text": "hi", "params": params})


def test_a_temperature_of_zero_and_one_stop_string_are_right():
    params: Any = Model.Input.model_validate({"params": {"temperature": 0, "stop": "END"}})
    assert (params.params.temperature, params.params.stop) == (0, ["END"])


@pytest.mark.parametrize("text", [5, {"a": 1}, ["a", 5]])
def test_text_is_text_or_a_list_of_texts(text: Any):
    assert "expected text or a list of texts" in refused(Model.Input, {"text": text})


@pytest.mark.parametrize("config", [{"task": "text-generatoin"}, {"task": "summarization", "driver": "vlm"}])
def test_tasks_and_drivers_are_from_a_list(config: dict[str, Any]):
    assert "Input should be" in refused(Model.Config, {"model": "gpt2", **config})


# http-client


def call(config: dict[str, Any] | None = None, **action: Any) -> dict[str, str]:
    return mistakes(HttpClient, {"base_url": "https://a.com"} if config is None else config, action)


def test_a_call_says_where_it_goes_once():
    assert call(path="/x") == call(path=BINDING) == call({}, endpoint="https://a.com/x") == {}
    assert call({}, endpoint=BINDING) == {}
    assert "exclude each other" in call(path="/x", endpoint="https://a.com")["endpoint"]
    assert "write `path: /…`" in call()["path"]
    assert "needs a base_url" in call({}, path="/x")["path"]
    assert "write https://" in call({}, endpoint="a.com/x")["endpoint"]


def test_headers_that_cannot_be_sent_are_told_at_once_and_bindings_later():
    config = {"base_url": "https://a.com", "headers": {"X Key": "1"}}
    assert "expected a header name" in call(config, path="/")["headers.X Key"]
    assert "on one line" in call(path="/", headers={"X-Key": "a\nb"})["headers.X-Key"]
    assert call(path="/", headers={"X-Key": BINDING, "X-Number": 5}) == {}


@pytest.mark.parametrize(
    "config",
    [{"base_url": "a.com"}, {"timeout": 0}, {"max_retries": -1}, {"retry_delay": "soon"}, {"headers": {"a": []}}],
)
def test_configs_that_make_no_sense_are_refused(config: dict[str, Any]):
    assert next(iter(config)) in refused(HttpClient.Config, config)


@pytest.mark.parametrize(
    "action",
    [{"method": "PSOT"}, {"stream_format": "jsno"}, {"chunk_size": 0}, {"params": {"a": {"b": 1}}}, {"pth": "/"}],
)
def test_actions_that_make_no_sense_are_refused(action: dict[str, Any]):
    assert next(iter(action)) in refused(HttpClient.Input, action)


def test_units_and_lower_case_are_understood():
    config: Any = HttpClient.Config.model_validate({"timeout": "2m", "retry_delay": "500ms", "headers": {"a": True}})
    assert (config.timeout, config.retry_delay, config.headers) == (120, 0.5, {"a": "true"})
    action: Any = HttpClient.Input.model_validate({"method": "get", "chunk_size": "64KiB"})
    assert (action.method, action.chunk_size) == ("GET", 65536)


# http-server


def test_a_command_is_a_list_of_words_or_one_line():
    listed: Any = HttpServer.Config.model_validate({"start": ["serve", "--port", 8000]})
    assert listed.start == ["serve", "--port", "8000"]
    line: Any = HttpServer.Config.model_validate({"start": "serve --port 8000", "install": "make"})
    assert line.start == ["/bin/sh", "-ec", "serve --port 8000"]
    assert line.install == ["/bin/sh", "-ec", "make"]


@pytest.mark.parametrize("start", ["", " ", [], {}, 5, None, [["a"]]])
def test_what_is_no_command_is_refused(start: Any):
    assert "start" in refused(HttpServer.Config, {"start": start})


@pytest.mark.parametrize(
    "config",
    [
        {"port": 70_000},
        {"port": -1},
        {"healthcheck": {"interval": 0}},
        {"healthcheck": {"pth": "/"}},
        {"env": {"a": []}},
    ],
)
def test_servers_that_make_no_sense_are_refused(config: dict[str, Any]):
    assert next(iter(config)) in refused(HttpServer.Config, {"start": "serve", **config})


def test_a_server_is_called_by_path_alone():
    assert "write `path: /…`" in mistakes(HttpServer, {"start": "serve"}, {})["path"]
    assert "endpoint" in refused(HttpServer.Input, {"endpoint": "https://a.com"})


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"start": ["serve"]}, "start"),
        ({"start": ["serve"], "port": 0, "build": BINDING}, "port"),
        ({"start": ["serve", BINDING]}, None),
        ({"start": BINDING}, None),
        ({"start": ["serve"], "env": {"PORT": BINDING}}, None),
        ({"start": ["serve", "8000"], "port": 8000}, None),
    ],
)
def test_a_server_must_learn_its_port_or_have_a_fixed_one(config: dict[str, Any], field: str | None):
    found = mistakes(HttpServer, config, {"path": "/"})
    assert list(found) == ([] if field is None else [field])
    assert all("write ${port} where `start` names it" in message for message in found.values())


# all of them


@pytest.mark.parametrize("name", sorted(registry()))
def test_every_type_has_a_json_schema_and_says_what_it_is(name: str):
    cls = registry()[name]
    assert cls.__doc__
    for declared in (cls.Config, cls.Input):
        assert declared.model_json_schema()["type"] == "object"


def test_a_workflow_as_a_component_is_run_in_the_run_that_calls_it():
    cls = registry()["workflow"]
    assert not cls.deployed
    component = cls(cls.Config.model_validate({"workflow": "a"}), Setup(id="x"))
    with pytest.raises(ComponentFailed, match="component 'x'"):
        component.run(cls.Input.model_validate({}))
