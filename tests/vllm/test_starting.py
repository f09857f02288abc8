"""What keeps vLLM from starting: one line that names the model and what to write."""

import pytest

from graphs.errors import AnabranchError
from tests.vllm.conftest import started


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("llama", {"max_model_length": 100}, r"vLLM has no option 'max_model_length'; did you mean 'max_model_len'"),
        ("llama", {"dtype": "half"}, r"'dtype' is a field of the component; write `precision:` there"),
        ("llama", {"max_model_len": 4096}, r"model '.*llama-wide': vLLM could not start: .*4096"),
        ("llama", {"quantization": "nonsense"}, r"model '.*llama-wide': vLLM could not start: .*nonsense"),
        ("bart", {}, r"is an encoder-decoder, which vLLM can't run; write `driver: huggingface`"),
    ],
)  # fmt: skip
async def test_it_says_why(kind, options, message):
    with pytest.raises(AnabranchError, match=message) as caught:
        await started(kind, "text-generation", **options)
    assert "\n" not in str(caught.value)


async def test_what_its_own_process_fails_of_is_told_too():
    with pytest.raises(AnabranchError, match="vLLM could not start: No available memory for the cache") as caught:
        await started("llama", "text-generation", kv_cache_memory_bytes=1024)
    assert "\n" not in str(caught.value)


async def test_a_device_that_this_build_does_not_run_on_is_refused():
    from deployments.engines.vllm.engine import VLLM
    from tests.vllm import models

    with pytest.raises(AnabranchError, match="device cuda was asked for, and this build of vLLM runs on cpu"):
        await VLLM.start(str(models.model("llama")), task="text-generation", device="cuda", options={})
