"""The tiny models once more, with the width of attention that vLLM's kernels for the CPU are written for."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from tests.engines import tiny

HEAD = 32
"""The least there is."""


@cache
def model(kind: str, context: int | None = None) -> Path:
    """Return the folder of such a model, built now if it isn't yet; the session's end takes it away with the others."""
    import torch
    import transformers

    folder = tiny.model(kind).with_name(f"{kind}-wide-{context or ''}".rstrip("-"))
    shutil.copytree(tiny.model(kind), folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    if config.model_type == "llama":
        config.head_dim = HEAD
    else:
        config.num_attention_heads = config.hidden_size // HEAD
    config.max_position_embeddings = context or config.max_position_embeddings
    torch.manual_seed(7)
    getattr(transformers, config.architectures[0])(config).save_pretrained(folder)
    return folder


def likeliest(kind: str, messages: list[dict[str, str]], length: int) -> str:
    """Return what transformers generates, taking the likeliest token each time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, network = (each.from_pretrained(model(kind)) for each in (AutoTokenizer, AutoModelForCausalLM))
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    whole = network.generate(**prompt, max_new_tokens=length, do_sample=False)[0]
    return tokenizer.decode(whole[prompt["input_ids"].shape[1] :], skip_special_tokens=True)
