"""A model component as written -> what it offers to clients of the vendors' APIs: the uses of its task, by each model's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from graphs.component import Offer, Unknown, Use

GENERATING = ("text-generation", "chat-completion")
PARAMS: Mapping[str, Any] = {
    "max_output_length": "${input.max_tokens}",
    # Clients send a limit that suits any model: Anthropic's must send one.
    "fit_output": True,
    "min_output_length": "${input.min_tokens}",
    "do_sample": "${input.do_sample}",
    "temperature": "${input.temperature}",
    "top_p": "${input.top_p}",
    "top_k": "${input.top_k}",
    "repetition_penalty": "${input.repetition_penalty}",
    "seed": "${input.seed}",
}
"""What the request may say of how the model generates, by our names."""
GENERATION: Mapping[str, Any] = {"params": PARAMS, "stop": "${input.stop}", "logprobs": "${input.logprobs}"}
CHAT: Mapping[str, Any] = {
    "messages": "${input.messages}",
    "tools": "${input.tools}",
    "tool_choice": "${input.tool_choice}",
    "response_format": "${input.response_format}",
    "chat_template_kwargs": "${input.chat_template_kwargs}",
    "truncation": "${input.truncation}",
}
COUNTED = ("messages", "tools", "tool_choice", "chat_template_kwargs")
"""What of it says how many tokens the prompt has."""
READ = frozenset({"text", "messages", "answer", "streaming", "batch_size"})
"""Fields of an action that are the request's alone."""


def offers(config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[Offer]:
    """Yield each use of each model; the model that the action calls comes first."""
    task = str(config.get("task"))
    models = [name for name in config.get("models") or [config.get("model")] if isinstance(name, str)]
    chosen = action.get("model")
    for name in sorted(models, key=lambda name: name != chosen):
        named = {"model": name} if config.get("models") else {}
        for use, asked in _uses(task, streams=not _has_beams(action)):
            yield Offer(use, _public_name(name), {**asked, **named}, READ)


def _uses(task: str, *, streams: bool) -> Iterator[tuple[Use, Mapping[str, Any]]]:
    streamed = {"streaming": "${input.stream}"} if streams else {}
    if task == "text-embedding":
        yield "embedding", {"text": "${input.input}", "batch_size": 32}
    elif task == "text-classification":
        yield "chat", {"text": "${input.prompt}"}
    elif task in GENERATING:
        yield "chat", {**CHAT, **GENERATION, **streamed, "answer": "message"}
        yield "completion", {"text": "${input.prompt}", **GENERATION, **streamed}
        yield "count", {**{name: CHAT[name] for name in COUNTED}, "answer": "count"}
    else:  # what is translated or summarized is what the user says last
        yield "chat", {"text": "${input.prompt}", **GENERATION, **streamed}
        yield "completion", {"text": "${input.prompt}", **GENERATION, **streamed}


def _has_beams(action: Mapping[str, Any]) -> bool:
    """Return whether beams may be asked for by the document, which give nothing before their end."""
    params = action.get("params")
    if isinstance(params, Unknown):
        return True
    beams = params.get("num_beams") if isinstance(params, Mapping) else None
    return beams not in (None, 1)


def _public_name(name: str) -> str:
    """Return a model's name on the hub; of a folder, the last part of its path."""
    path = PurePath(name)
    return path.name if path.is_absolute() else name
