"""Conversations and how they are kept -> the runs that answer them, begun, with what reads their pieces."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.conversations.models import Asked, asked
from deployments.conversations.reading import Reading
from deployments.conversations.request import Conversation
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import Keep
from deployments.gateway.running import Following
from deployments.transports.piece_answer import Choice


async def begun_all(
    gateway: Gateway, conversations: Sequence[Conversation], keep: Keep | None = None
) -> tuple[Asked, list[Choice]]:
    """Begin the runs of an answer's choices, all or none; return the first of what is asked, and the choices."""
    every = [asked(gateway.plan, each) for each in conversations]
    choices: list[Choice] = []
    try:
        for run, conversation in zip(every, conversations, strict=True):
            choices.append(await begun(gateway, run, conversation, keep))
    except BaseException:
        for choice in choices:
            await _stop(gateway, choice)
        raise
    return every[0], choices


async def begun(gateway: Gateway, asked: Asked, conversation: Conversation, keep: Keep | None = None) -> Choice:
    """Begin the run. Without `keep` it is kept only where all runs are."""
    controller = gateway.plan.controller
    if keep is None and controller.store.record == "all":
        keep = Keep(asked=False)
    running = await gateway.begin(asked.workflow, asked.input, keep=keep)
    return Choice(running, Reading(running.run.id, controller.primary, parallel_calls=conversation.parallel_tool_calls))


async def _stop(gateway: Gateway, choice: Choice) -> None:
    running = choice.running
    await running.aclose()
    if isinstance(running, Following):
        await gateway.kept.cancel(running.run.id)
