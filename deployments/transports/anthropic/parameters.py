"""What each field of a request to `/v1/messages` does; what isn't here is refused, with the field that was probably meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.errors import InvalidInput
from graphs.suggest import closest

HONOURED: Mapping[str, str] = {
    "model": "a workflow, a model component, or an alias",
    "messages": "text, images, documents, search results, thinking, calls of tools and their results",
    "max_tokens": "required",
    "system": "text, or blocks of text",
    "stream": "",
    "temperature": "from 0 to 1",
    "top_p": "",
    "top_k": "",
    "stop_sequences": "`stop_sequence` in the answer names the one that ended it, where the component notes it",
    "tools": "tools of your own; those that Anthropic's servers run, or that its models know, are refused",
    "tool_choice": "`disable_parallel_tool_use` too: of several calls the first is given",
    "thinking": "`enabled` and `adaptive` tell the chat template `enable_thinking: true`, `disabled` false; `display` decides what is sent. "
    "`budget_tokens` has no effect: the model thinks as long as it likes, within `max_tokens`",
    "output_config": "`format` as a JSON Schema that the answer keeps to; `effort` is told to the chat template as "
    "`reasoning_effort`, `xhigh` and `max` as `high`",
    "output_format": "the same as `output_config.format`",
    "metadata": "`user_id` is read by workflows as `user`, and the keys of `input` go into their input",
    "input": "ours: the keys go into a workflow's input as they are",
}  # fmt: skip
ACCEPTED: Mapping[str, str] = {
    "cache_control": "nothing is billed by what was cached",
    "context_management": "nothing is taken out of the conversation; one that is too long is refused",
    "diagnostics": "they are about Anthropic's cache",
    "inference_geo": "the model runs where the server does",
    "service_tier": "there is one",
    "speed": "there is one",
    "billing_policy": "nothing is billed",
    "user_profile_id": "it names a profile at Anthropic",
}
REFUSED: Mapping[str, str] = {
    "compaction": "nothing is summarized here; shorten the conversation yourself",
    "container": "there are no containers to run code in",
    "fallback_credit_token": "it is one of Anthropic's",
    "fallbacks": "one model answers; name another in a request of its own",
    "mcp_servers": "the server calls no tools; call them yourself, and send their results",
    "thread": "no threads are kept; send the whole conversation",
}


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse what a model component can't do. Workflows read all fields, and do what their document says."""
    known = (*HONOURED, *ACCEPTED)
    for name, value in fields.items():
        if value is None or name in known:
            continue
        if (why := REFUSED.get(name)) is not None:
            raise InvalidInput(f"{name}: {why}; leave it out", field=name)
        near = closest(name, known)
        hint = f"did you mean '{near}'?" if near else f"the fields are {', '.join(known)}"
        raise InvalidInput(f"unknown field '{name}'; {hint}", field=name)
