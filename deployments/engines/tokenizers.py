"""A tokenizer of transformers -> what lies inside it. All that reads a tokenizer's private side stands here.

A tokenizer is either written in Python, or a wrapper of the tokenizers library. Where an inner part that is needed is
not found, `Unavailable` names it and the installed version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from graphs.errors import Unavailable
from graphs.requirements import installed_version

SPACE_MARK = "\u2581"
"""SentencePiece's way to write a space, kept by the tokenizers that were converted from it."""


def backend(tokenizer: Any) -> Any | None:
    """Return the tokenizers library's object inside; None for a tokenizer that is written in Python."""
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return None
    return _part(tokenizer, "backend_tokenizer", "transformers")


def added_tokens(tokenizer: Any) -> Mapping[int, Any]:
    """Return the tokens that were added to the vocabulary, by their ids."""
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return {}  # vLLM's own tokenizer of Mistral's format: its special tokens are in `all_special_ids`
    try:
        return _part(tokenizer, "added_tokens_decoder", "transformers")
    except NotImplementedError:
        return {}


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Return the tokens that are not text of an answer, and how they are written."""
    added = added_tokens(tokenizer)
    ids = {*tokenizer.all_special_ids, *(id for id, token in added.items() if token.special)}
    return {id: str(added[id]) if id in added else str(tokenizer.convert_ids_to_tokens(id)) for id in ids}


def shipped_template(tokenizer: Any) -> Any | None:
    """Return the response template that came with the model, which says how its answers are read; None without one."""
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return None  # vLLM's own tokenizer of Mistral's format
    return _part(tokenizer, "response_template", "transformers")


def decoder_steps(tokenizer: Any) -> set[str]:
    """Return the kinds of steps that turn tokens into text, by the names of the tokenizers library."""
    inner = backend(tokenizer)
    if inner is None:
        # getattr: GPT-2's tokenizer in Python, and those modelled on it, keep the bytes of each letter in `byte_decoder`.
        if hasattr(tokenizer, "byte_decoder"):
            return {"ByteLevel"}
        return {"Metaspace"} if any(SPACE_MARK in name for name in tokenizer.get_vocab()) else set()
    decoder = _part(inner, "decoder", "tokenizers")
    if decoder is None:
        return set()
    try:
        # What pickling keeps of it: the same JSON as in tokenizer.json, without the vocabulary.
        return set(_types(json.loads(decoder.__getstate__())))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise changed("tokenizers", "the state of a decoder is no longer its JSON") from error


def byte_tokens(tokenizer: Any) -> dict[int, int]:
    """Return which token ids stand for a byte each, in a vocabulary that falls back on bytes."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    return {vocabulary[name]: byte for byte, name in enumerate(names) if name in vocabulary}


def changed(distribution: str, how: str) -> Unavailable:
    """Return the error of a library whose inside is no longer as it was."""
    return Unavailable(
        f"{distribution} {installed_version(distribution)} differs from the versions that anabranch is made for: {how}; "
        "install one of those that anabranch requires"
    )


def _types(decoder: Mapping[str, Any]) -> Iterable[str]:
    yield decoder["type"]
    for step in decoder.get("decoders", ()):
        yield from _types(step)


def _part(owner: Any, name: str, distribution: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise changed(distribution, f"{type(owner).__name__} has no {name!r}") from error
