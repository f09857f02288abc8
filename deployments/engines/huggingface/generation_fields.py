"""What a model's GenerationConfig may say, field by field: done, without effect here, or refused when the model is loaded."""

from __future__ import annotations

from typing import Any

from deployments.engines.huggingface.transformers_internals import VERSIONS, GenerationConfig
from graphs.errors import Unavailable

DONE = frozenset({
    # settings.py
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "stop_strings", "do_sample", "num_beams",
    "temperature", "top_k", "top_p", "repetition_penalty", "eos_token_id",
    # shaping.py, by the rules of `generate`
    "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "encoder_repetition_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "renormalize_logits",
    "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty",
    "suppress_tokens", "begin_suppress_tokens", "sequence_bias", "watermarking_config",
    # network.py
    "decoder_start_token_id", "bos_token_id",
    # beams.py
    "early_stopping", "length_penalty", "pad_token_id",
})  # fmt: skip

WITHOUT_EFFECT = frozenset({
    # How `generate` computes, and not what.
    "use_cache", "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile",
    "continuous_batching_config", "prefill_chunk_size", "low_memory",
    # What it returns besides the tokens. A request has one answer.
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "num_return_sequences",
    # How an assistant guesses ahead. The model itself decides whether a guess stands.
    "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
    "prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind",
    "target_lookbehind", "assistant_ensemble_weight", "speculation_type", "use_mtp",
    # Where the configuration comes from.
    "_from_model_config", "transformers_version",
})  # fmt: skip

REFUSED: dict[str, tuple[Any, ...]] = {
    "max_time": (None,),
    "token_healing": (None, False),
    "guidance_scale": (None, 1),
    "penalty_alpha": (None, 0),
    "dola_layers": (None,),
    "num_beam_groups": (None, 1),
    "diversity_penalty": (None, 0),
    "constraints": (None,),
    "force_words_ids": (None,),
}
"""Other ways to generate, and the values that ask for none of them."""


def refuse_unknown(own: Any, name: str) -> None:
    """Raise if the model's own configuration asks for what this driver doesn't do."""
    fields = vars(GenerationConfig())
    values = {field: value for field, value in vars(own).items() if field in fields}
    for field, value in values.items():
        if field in REFUSED and value not in REFUSED[field]:
            raise Unavailable(
                f"model {name!r} wants to generate with {field}: {value!r}, which the driver huggingface doesn't do; "
                "take it out of the generation_config.json in the model's folder, or take another model"
            )
        if value is not None and field not in DONE | WITHOUT_EFFECT | REFUSED.keys():
            raise Unavailable(
                f"model {name!r} wants to generate with {field}: {value!r}, which the driver huggingface doesn't know "
                f"({VERSIONS}); take it out of the generation_config.json in the model's folder, or install the "
                "versions that this release was tested with"
            )
