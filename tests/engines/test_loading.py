"""A model is loaded for its task, on what the replica has; what can't be is told in one line."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

from deployments.engines import devices
from deployments.engines.huggingface.loading import load, read_config
from graphs.errors import AnabranchError, InvalidInput, Unavailable
from tests.engines import tiny


def refused(name: str | Path, task: str = "text-generation", **more: Any) -> str:
    with pytest.raises(AnabranchError) as refusal:
        load(str(name), task, **more)
    message = refusal.value.message
    assert "\n" not in message
    return message


def changed(kind: str, folder: Path, file: str = "config.json", **values: Any) -> Path:
    """Return a copy of a tiny model in which a file says otherwise."""
    shutil.copytree(tiny.model(kind), folder)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.mark.parametrize(
    ("kind", "task", "expected"),
    [
        ("gpt2", "text-generation", "decoder"),
        ("llama-chat", "chat-completion", "decoder"),
        ("bart", "text-generation", "encoder-decoder"),
        ("marian", "translation", "encoder-decoder"),
        ("t5", "summarization", "encoder-decoder"),
        ("bert", "text-embedding", "embedding"),
        ("t5", "text-embedding", "embedding"),
        ("bart", "text-embedding", "embedding"),
        ("bert-classifier", "text-classification", "classification"),
    ],
)
def test_a_model_is_loaded_for_its_task_as_its_own_configuration_says(kind: str, task: str, expected: str):
    import torch

    loaded = load(str(tiny.model(kind)), task)
    assert (loaded.kind, loaded.task, loaded.device, loaded.dtype) == (expected, task, "cpu", torch.float32)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_model_says_how_much_it_can_see_and_an_option_lowers_it():
    folder = str(tiny.model("gpt2"))
    assert load(folder, "text-generation").context == tiny.CONTEXT
    assert load(folder, "text-generation", options={"max_model_len": 100}).context == 100


def test_precision_is_as_the_document_says():
    import torch

    assert load(str(tiny.model("gpt2")), "text-generation", precision="bfloat16").model.dtype == torch.bfloat16


def test_the_log_says_what_is_loaded_and_what_it_took(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "anabranch.model")
    folder = str(tiny.model("gpt2"))
    load(folder, "text-generation")
    before, after = (record.getMessage() for record in caplog.records)
    assert before.startswith(f"loading {folder} on cpu (")
    assert after.startswith(f"loaded {folder}: 0.1 M parameters, ")
    assert "float32 on cpu (" in after
    assert "memory +" in after


def test_bars_stay_out_of_the_log(capfd: pytest.CaptureFixture[str]):
    load(str(tiny.model("bart")), "summarization")
    assert capfd.readouterr() == ("", "")


def test_a_gpu_that_is_not_there_is_told_and_what_to_write(monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "there is no device cuda: " in (message := refused(tiny.model("gpt2"), device="cuda"))
    assert "or leave `device` out" in message


def test_why_there_is_no_gpu_depends_on_who_can_help(monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built for CPUs only; install the CUDA build" in devices._why_no_gpu()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "write `resources: {num_gpus: 1}`" in devices._why_no_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "run nvidia-smi" in devices._why_no_gpu()


def test_without_a_word_the_replicas_gpu_is_taken(monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert devices.choose_device(None, "gpt2") == "cuda"
    assert devices.choose_device("cpu", "gpt2") == "cpu"
    assert devices.choose_precision("auto", "cuda") == torch.bfloat16
    with pytest.raises(Unavailable, match=r"there is no device cuda:1: the replica has 1 GPU, counted from 0"):
        devices.choose_device("cuda:1", "gpt2")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert devices.choose_precision("auto", "cuda") == torch.float16


def test_an_option_that_nobody_reads_is_refused():
    with pytest.raises(InvalidInput, match=r"there is no 'trust_remote'.*did you mean 'trust_remote_code'"):
        load(str(tiny.model("gpt2")), "text-generation", options={"trust_remote": True})


@pytest.mark.parametrize(
    ("kind", "task", "said"),
    [
        ("bert", "text-generation", "(BertModel) does not generate text"),
        ("bert-classifier", "chat-completion", "write `task: text-classification`"),
        ("gpt2", "text-classification", "was not trained to classify"),
    ],
)
def test_a_model_made_for_something_else_is_refused(kind: str, task: str, said: str):
    assert said in refused(tiny.model(kind), task)


def test_a_model_without_some_of_its_weights_is_refused(tmp_path: Path):
    folder = changed("gpt2", tmp_path / "m", n_layer=3)
    assert "has no weights for 12 of its parameters (transformer.h.2." in refused(folder)


def without_weights(kind: str, folder: Path, named: str) -> Path:
    """Return a copy of a tiny model that lacks the weights of such a name."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny.model(kind), folder)
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if named not in key}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("kind", "task", "named"),
    [
        ("bert-classifier", "text-classification", "pooler"),
        ("bert", "text-embedding", "attention.self.key"),
        ("llama", "text-generation", "norm"),
        ("t5", "summarization", "EncDecAttention"),
    ],
)
def test_weights_that_are_missing_are_named_whatever_their_name(tmp_path: Path, kind: str, task: str, named: str):
    message = refused(without_weights(kind, tmp_path / "m", named), task)
    assert "has no weights for " in message
    assert named in message
    assert f"the folder is incomplete, or the model was not trained for the task {task}" in message


def test_a_pooler_that_an_embedding_does_not_read_may_be_missing(tmp_path: Path):
    assert load(str(without_weights("bert", tmp_path / "m", "pooler")), "text-embedding").kind == "embedding"


def test_a_folder_without_weights_is_refused(tmp_path: Path):
    folder = changed("gpt2", tmp_path / "m")
    (folder / "model.safetensors").unlink()
    assert "its folder has no weights (*.safetensors, *.bin)" in refused(folder)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    folder = changed("gpt2", tmp_path / "m")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "has no tokenizer in its folder; copy tokenizer.json and the files" in refused(folder)


def test_a_tokenizer_that_is_broken_is_refused(tmp_path: Path):
    folder = changed("gpt2", tmp_path / "m")
    (folder / "tokenizer.json").write_text("{}")
    assert "its tokenizer could not be loaded: " in refused(folder)


def test_weights_that_are_broken_are_refused(tmp_path: Path):
    folder = changed("gpt2", tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"no tensors")
    assert "could not be loaded" in refused(folder)


def test_an_architecture_nobody_knows_is_refused(tmp_path: Path):
    folder = changed("gpt2", tmp_path / "m", model_type="gpt9", architectures=["GPT9"])
    assert f"transformers {transformers.__version__} has no architecture 'gpt9'; a newer version may" in refused(folder)


def test_a_configuration_that_is_no_json_is_refused(tmp_path: Path):
    folder = changed("gpt2", tmp_path / "m")
    (folder / "config.json").write_text("{")
    assert "its config.json: " in refused(folder)


@pytest.mark.parametrize("options", [{}, *({"trust_remote_code": no} for no in (None, False, "no", "False", "off"))])
def test_code_of_a_models_own_runs_only_when_it_is_trusted(tmp_path: Path, options: dict[str, Any]):
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    folder = changed("gpt2", tmp_path / "m", model_type="own", auto_map=auto)
    (folder / "own.py").write_text("raise SystemExit('run')")
    assert "if you trust it write `options: {trust_remote_code: true}`" in refused(folder, options=options)


@pytest.mark.parametrize("read", [lambda name, options: load(name, "text-generation", options=options), read_config])
def test_code_of_a_models_own_that_exits_ends_nothing_but_the_loading(tmp_path: Path, read: Any):
    folder = changed("gpt2", tmp_path / "m", model_type="own", auto_map={"AutoConfig": "own.OwnConfig"})
    (folder / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(Unavailable, match=r"could not be loaded: code that it brings raised SystemExit: run$"):
        read(str(folder), {"trust_remote_code": True})


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_without_its_packages_it_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    message = refused("gpt2")
    assert message.startswith(f"model 'gpt2': the driver huggingface can't be imported here (import of {package} ")
    assert message.endswith("; install it: pip install 'anabranch[huggingface]'")
    with pytest.raises(Unavailable, match=r"the driver vllm .*; install it: pip install 'anabranch\[vllm\]'"):
        read_config("gpt2")


@pytest.mark.parametrize("said", ["maybe", 1, ["yes"]])
def test_what_is_no_clear_yes_trusts_nobody(said: Any):
    message = refused(tiny.model("gpt2"), options={"trust_remote_code": said})
    assert message.startswith("options: expected true or false for trust_remote_code, got ")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("\nMarianTokenizer requires the SentencePiece library but it was not found.\n")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", missing)
    message = refused(tiny.model("marian"), "translation")
    assert "needs a Python package that isn't installed: MarianTokenizer requires the SentencePiece library" in message


def test_a_model_too_large_for_the_memory_is_told(monkeypatch: pytest.MonkeyPatch):
    import torch

    def full(*_: Any, **__: Any) -> None:
        torch.empty(10**16)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", full)
    assert "it doesn't fit into memory; take a smaller one" in refused(tiny.model("gpt2"))


def test_a_language_the_model_does_not_have_is_refused():
    options = {"target_language": "xx_XX"}
    assert "has no language 'xx_XX'" in refused(tiny.model("bart"), "translation", options=options)


def test_the_language_that_is_wanted_is_the_first_token_of_every_answer():
    folder = str(tiny.model("bart"))
    loaded = load(folder, "translation", options={"target_language": "river"[0]})
    assert loaded.model.generation_config.forced_bos_token_id == loaded.tokenizer.convert_tokens_to_ids("r")


def test_a_configuration_can_be_read_alone():
    assert read_config(str(tiny.model("llama"))).model_type == "llama"
    with pytest.raises(Unavailable, match="there is no folder"):
        read_config("./nowhere")


def test_models_can_be_loaded_from_several_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    kinds = [("gpt2", "text-generation"), ("bart", "summarization"), ("bert", "text-embedding")] * 2
    with ThreadPoolExecutor(6) as threads:
        loads = list(threads.map(lambda each: load(str(tiny.model(each[0])), each[1]), kinds))
    assert not any(parameter.is_meta for loaded in loads for parameter in loaded.model.parameters())
