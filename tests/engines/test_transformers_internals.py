"""What the driver needs of transformers is named, and missed aloud."""

from __future__ import annotations

import json
import runpy
from types import SimpleNamespace
from typing import Any

import pytest
import transformers

from deployments.engines.huggingface import transformers_internals as internals
from deployments.engines.huggingface.loading import load
from deployments.engines.huggingface.network import network
from graphs.errors import ComponentFailed, Unavailable
from tests.engines import tiny
from tests.engines.asking import loaded


class New:
    def forward(self, input_ids: Any, cache: Any = None, **kwargs: Any) -> None: ...


class Old:
    def forward(self, input_ids: Any, past_key_values: Any = None, use_cache: bool = False) -> None: ...


class Recurrent:
    def forward(self, input_ids: Any, cache_params: Any = None) -> None: ...


class Stateful:
    def forward(self, input_ids: Any, state: Any = None, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("model", "name"), [(New(), "cache"), (Old(), "past_key_values"), (Recurrent(), "cache_params")]
)
def test_the_cache_is_given_under_the_name_that_the_model_has_for_it(model: Any, name: str):
    assert internals.cache_argument(model) == name


def test_a_model_that_takes_no_cache_is_refused_by_its_class_and_the_versions():
    with pytest.raises(
        Unavailable, match=rf"class Stateful .* takes no cache .*transformers {transformers.__version__}"
    ):
        internals.cache_argument(Stateful())


def test_an_argument_that_a_model_lacks_is_named():
    internals.require(Old(), "input_ids", "use_cache")
    internals.require(New(), "use_cache")  # all others are handed on
    with pytest.raises(Unavailable, match=r"class Recurrent .* takes no use_cache and no position_ids"):
        internals.require(Recurrent(), "use_cache", "position_ids")


@pytest.mark.parametrize("name", ["attention_mask", "use_cache"])
def test_a_model_whose_rows_would_be_padded_must_take_what_hides_the_padding(monkeypatch, name: str):
    model = loaded("llama")
    names = internals.arguments(model.model) - {name}
    monkeypatch.setattr(internals, "arguments", lambda _: names)
    with pytest.raises(Unavailable, match=f"class LlamaForCausalLM .* takes no {name}"):
        network(model.model, model.tokenizer, "cpu")


@pytest.mark.parametrize(
    ("kind", "joins"), [("gpt2", True), ("llama", True), ("mistral", True), ("bloom", False), ("mamba", False)]
)
def test_rows_are_joined_wherever_all_layers_attend_to_tokens_alone(kind: str, joins: bool):
    model = loaded(kind)
    assert network(model.model, model.tokenizer, "cpu").joins is joins


@pytest.mark.parametrize("layers", [["full_attention", "chunked_attention"], ["full_attention", "anything_new"]])
def test_rows_are_not_joined_where_a_layer_is_of_another_kind(layers: list[str]):
    config = transformers.LlamaConfig(num_hidden_layers=2)
    assert internals.joinable(config)
    changed = SimpleNamespace(layer_types=layers, per_layer_config=[SimpleNamespace(attention_chunk_size=8)] * 2)
    config.get_text_config = lambda decoder: changed
    assert not internals.joinable(config)


def test_a_model_that_keeps_a_state_of_its_own_kind_is_refused(tmp_path):
    config = transformers.RwkvConfig(vocab_size=600, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32)
    transformers.RwkvForCausalLM(config).save_pretrained(tmp_path)
    tiny.byte_level(eos="</s>").save_pretrained(tmp_path)
    with pytest.raises(Unavailable, match="class RwkvForCausalLM can't generate here: its forward pass takes no cache"):
        load(str(tmp_path), "text-generation")


def test_what_an_installed_version_lacks_is_named():
    with pytest.raises(Unavailable, match=rf"doesn't work with transformers {transformers.__version__}.*no New.update"):
        internals.refuse_without([(New, ("forward", "update"))])


def test_a_class_that_an_installed_version_lacks_is_named_when_the_driver_is_imported(monkeypatch):
    monkeypatch.delattr("transformers.cache_utils.DynamicLayer")
    with pytest.raises(
        Unavailable, match=rf"doesn't work with transformers {transformers.__version__}.*'DynamicLayer'"
    ):
        runpy.run_path(internals.__file__)


def test_an_encoder_decoder_that_does_not_say_how_answers_begin_is_refused(tmp_path):
    folder = tiny.fresh("t5", tmp_path / "model", decoder_start_token_id=None, bos_token_id=None)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_start_token_id": None, "bos_token_id": None}))
    with pytest.raises(Unavailable, match="write decoder_start_token_id into the"):
        load(str(folder), "summarization")


def test_a_cache_that_is_shorter_than_what_was_read_is_not_used():
    cache = internals.growing_cache(loaded("llama").config)
    internals.refuse_short(cache, 0)
    with pytest.raises(ComponentFailed, match="expected 3 tokens in it, got 0"):
        internals.refuse_short(cache, 3)
