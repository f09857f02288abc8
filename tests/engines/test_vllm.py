"""What a document may ask of vLLM, told before vLLM is there. What needs it is in tests/vllm."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines.vllm.starting import Start, check_device, check_options, gpus_needed, spreads, start
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
        ({"tensor_parallel": 2}, r"vLLM knows no 'tensor_parallel'; did you mean 'tensor_parallel_size'\?"),
        ({"zzz": 2}, r"vLLM knows no 'zzz'; see the engine arguments in vLLM's documentation"),
        ({"model": "other"}, r"'model' is said elsewhere; write `model:` on the component"),
        ({"skip_tokenizer_init": True}, r"'skip_tokenizer_init' can't be set.*; leave it out"),
        ({"_api_process_count": 2}, r"vLLM knows no '_api_process_count'"),
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


def test_without_vllm_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm.engine.arg_utils", None)
    for name in ("VLLM_NO_USAGE_STATS", "VLLM_WORKER_MULTIPROC_METHOD", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(Unavailable, match=r"model 'some/model': .* install it: pip install 'anabranch\[vllm\]'"):
        start(asked())
