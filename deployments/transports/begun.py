"""A Conversation and how it is kept -> the run that answers it, begun, with what reads its pieces."""

from __future__ import annotations

from deployments.conversations.models import Asked
from deployments.conversations.reading import Reading
from deployments.conversations.request import Conversation
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import Keep
from deployments.transports.piece_answer import Choice


async def begun(gateway: Gateway, asked: Asked, conversation: Conversation, keep: Keep | None = None) -> Choice:
    """Begin the run. Without `keep` it is kept only where all runs are."""
    controller = gateway.plan.controller
    if keep is None and controller.store.record == "all":
        keep = Keep(asked=False)
    running = await gateway.begin(asked.workflow, asked.input, keep=keep)
    return Choice(running, Reading(running.run.id, controller.primary, parallel_calls=conversation.parallel_tool_calls))
