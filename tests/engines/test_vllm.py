"""What a document may ask of vLLM, told before vLLM is there. What needs it is in tests/vllm."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from deployments.engines.vllm import library
from deployments.engines.vllm.library import import_vllm
from deployments.engines.vllm.parsing import Names, names_of
from deployments.engines.vllm.starting import (
    Start,
    check_device,
    check_options,
    gpus_needed,
    overhearing,
    spreads,
    start,
)
from graphs.errors import InvalidInput, Unavailable

KNOWN = ["model", "dtype", "max_model_len", "tensor_parallel_size", "quantization", "_api_process_count"]


def asked(device: str | None = None, **options: Any) -> Start:
    return Start("some/model", "some/model", device, "auto", options)


def platform(device_type: str, count: int = 0) -> Any:
    return SimpleNamespace(
        device_type=device_type, is_cuda_alike=lambda: device_type == "cuda", device_count=lambda: count
    )


def test_options_of_vllm_pass():
    check_options({"max_model_len": 100, "quantization": "fp8"}, KNOWN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_parallel": 2}, r"vLLM has no option 'tensor_parallel'; did you mean 'tensor_parallel_size'\?"),
        ({"zzz": 2}, r"vLLM has no option 'zzz'; see the engine arguments in vLLM's documentation"),
        ({"model": "other"}, r"'model' is a field of the component; write `model:` there"),
        ({"skip_tokenizer_init": True}, r"'skip_tokenizer_init' can't be set.*; leave it out"),
        ({"_api_process_count": 2}, r"vLLM has no option '_api_process_count'"),
    ],
)  # fmt: skip
def test_other_options_are_refused_with_what_to_write(options, message):
    with pytest.raises(InvalidInput, match=message):
        check_options(options, KNOWN)


@pytest.mark.parametrize(
    ("start", "there", "message"),
    [
        (asked(), platform(""), r"vLLM finds no GPU on this machine; write `driver: huggingface`"),
        (asked("cuda"), platform("cpu"), r"device cuda was asked for, and this build of vLLM runs on cpu"),
        (asked("cuda:1"), platform("cuda", 2), r"got 'cuda:1'; write `device: cuda`"),
        (asked(), platform("cuda", 0), r"needs 1 GPU here, and the replica has 0; write `resources: {num_gpus: 1}`"),
        (asked(tensor_parallel_size=4), platform("cuda", 2), r"needs 4 GPUs here, and the replica has 2"),
    ],
)  # fmt: skip
def test_a_device_that_is_not_there_is_refused_with_what_to_write(start, there, message):
    with pytest.raises((Unavailable, InvalidInput), match=message):
        check_device(start, there)


def test_devices_that_are_there_pass():
    check_device(asked(), platform("cpu"))
    check_device(asked("cuda", tensor_parallel_size=2), platform("cuda", 2))


def test_workers_that_ray_places_need_no_gpu_in_the_replica():
    assert spreads({"distributed_executor_backend": "ray"})
    check_device(asked(tensor_parallel_size=4, distributed_executor_backend="ray"), platform("cuda", 0))


def test_a_model_is_split_over_both_kinds_of_parallel_workers():
    assert gpus_needed({"tensor_parallel_size": 4, "pipeline_parallel_size": 2}) == 8
    assert gpus_needed({}) == 1


LOGGING = {"version": 1, "handlers": {"vllm": {}}, "loggers": {"vllm": {"handlers": ["vllm"]}}}
VARIABLES = (*library.SETTINGS, library.CACHE_SPACE, library.CONFIGURE_LOGGING, library.LOGGING_CONFIG)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand a vLLM of version 9.9 in, that reads these variables and configures its logs in this shape."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def installed(variables: tuple[str, ...] = VARIABLES, logging: Any = LOGGING) -> None:
        holding = {
            "vllm": {},
            "vllm.envs": dict.fromkeys(variables),
            "vllm.engine": {},
            "vllm.engine.arg_utils": {"AsyncEngineArgs": "arguments"},
            "vllm.logger": {"DEFAULT_LOGGING_CONFIG": logging},
            "vllm.platforms": {"current_platform": platform("cpu")},
            "vllm.v1": {},
            "vllm.v1.engine": {},
            "vllm.v1.engine.async_llm": {"AsyncLLM": "engine"},
            "vllm.version": {"__version__": "9.9"},
        }
        for name, held in holding.items():
            module = ModuleType(name)
            module.__dict__.update(held)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(sys.modules["vllm"], "envs", sys.modules["vllm.envs"], raising=False)

    yield installed
    for name in library.SETTINGS:
        os.environ.pop(name, None)


def test_what_only_the_environment_sets_is_set_unless_it_is_there(pretend: Any, monkeypatch: pytest.MonkeyPatch):
    pretend()
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "0")
    assert import_vllm("some/model").version == "9.9"
    assert os.environ["VLLM_NO_USAGE_STATS"] == "0"
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_vllm_no_longer_reads_is_named_with_the_version(pretend: Any, name: str):
    pretend(variables=tuple(each for each in VARIABLES if each != name))
    with pytest.raises(Unavailable, match=rf"model 'some/model': vLLM 9\.9 differs .*: it does not read {name};"):
        import_vllm("some/model")


@pytest.mark.parametrize("logging", [{}, {"loggers": {}}, {"loggers": {"vllm": {"level": "INFO"}}}])
def test_a_logging_configuration_of_another_shape_is_told(pretend: Any, logging: dict[str, Any]):
    pretend(logging=logging)
    with pytest.raises(Unavailable, match="DEFAULT_LOGGING_CONFIG has no handlers for the logger 'vllm'"):
        import_vllm("some/model")


def test_the_first_error_of_a_process_is_overheard(pretend: Any):
    pretend()
    with overhearing(LOGGING) as overheard:
        assert overheard() is None
        config = json.loads(Path(os.environ[library.LOGGING_CONFIG]).read_text())
        assert config["loggers"]["vllm"]["handlers"] == ["vllm", "errors"]
        logged = "Traceback (most recent call last):\nValueError: no room for the cache\nRuntimeError: it failed\n"
        Path(config["handlers"]["errors"]["filename"]).write_text(logged)
        assert overheard() == "no room for the cache"
    assert library.LOGGING_CONFIG not in os.environ


def test_without_vllm_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm.engine.arg_utils", None)
    for name in ("VLLM_NO_USAGE_STATS", "VLLM_WORKER_MULTIPROC_METHOD", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(Unavailable, match=r"model 'some/model': .* install it: pip install 'anabranch\[vllm\]'"):
        start(asked())


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("<tool_call> <think>", Names("hermes", "qwen3")),
        ("<tool_call>", Names("hermes", None)),
        ("<function= <tool_call> <think>", Names("qwen3_coder", "qwen3")),
        ("<arg_key> <think>", Names("glm45", "glm45")),
        ("[TOOL_CALLS] [THINK]", Names("mistral", "mistral")),
        ("[TOOL_CALLS]", Names("mistral", None)),
        ("<|channel|>", Names("openai", "openai_gptoss")),
        ("<|tool_call>", Names("gemma4", "gemma4")),
        ("<\uff5ctool▁calls▁begin\uff5c>function<\uff5ctool▁sep\uff5c> </think>", Names("deepseek_v3", "deepseek_r1")),
        ("<\uff5ctool▁calls▁begin\uff5c>{{ name }}<\uff5ctool▁sep\uff5c>", Names("deepseek_v31", None)),
        ("<|tool_calls_section_begin|> <think>", Names("kimi_k2", "kimi_k2")),
        ("<think>", Names(None, "deepseek_r1")),
        ("<|header_start|>", Names("llama4_pythonic", None)),
        (None, Names()),
    ],
)
def test_the_chat_template_tells_which_of_vllms_parsers_read_the_answers(template, names):
    assert names_of(template, {}) == names


def test_a_document_may_name_vllms_parsers_or_none():
    asked = {"tool_call_parser": "xlam", "reasoning_parser": "none"}
    assert names_of("<tool_call> <think>", asked, ships_template=True) == Names("xlam", None)
    assert names_of("<tool_call> <think>", {}, ships_template=True) == Names("hf", "hf")
