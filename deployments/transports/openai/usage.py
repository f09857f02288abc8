"""What the choices of an answer have cost -> one usage, as OpenAI counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.conversations.pieces import Answer, Ended
from deployments.conversations.reading import summed_usage


def summed(answers: Sequence[Answer], choices: int | None = None) -> dict[str, Any] | None:
    """Return the usage of all answers, each prompt counted once; None where none of them noted any.

    So many answers in a row, `choices`, are of the same prompt; without it all are.
    """
    total: dict[str, Any] = {}
    for index, answer in enumerate(answers):
        usage = _usage(answer.ended)
        if index % (choices or len(answers)):
            usage = {name: value for name, value in usage.items() if not name.startswith("prompt_tokens")}
        total = summed_usage(total, usage)
    if "total_tokens" in total:
        total["total_tokens"] = total.get("prompt_tokens", 0) + total.get("completion_tokens", 0)
    return total or None


def _usage(ended: Ended | None) -> Mapping[str, Any]:
    return {} if ended is None or ended.usage is None else ended.usage
