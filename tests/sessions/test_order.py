"""The turns of one session follow each other, whichever replica they come to, and however many come at once."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import defaultdict

from deployments.gateway.gateway import Gateway
from tests.sessions.talking import Echo, asked, replicas, turns

SESSIONS, TURNS = (200, 10) if os.environ.get("ANABRANCH_FULL_SIZE") else (30, 5)
WITHIN = 120.0
"""Seconds that all of them may take."""


async def test_of_many_sessions_at_once_no_turn_is_lost_doubled_or_out_of_order(url: str) -> None:
    model = Echo()
    async with replicas(model, url, within=WITHIN) as gateways:

        async def talk(session: str) -> None:
            for number in range(TURNS):
                text = f"{session}-{number}"
                assert await asked(random.choice(gateways), text, session) == f"{text} "

        await asyncio.gather(*(talk(f"s{index}") for index in range(SESSIONS)))
        for index in range(SESSIONS):
            asks = [f"s{index}-{number}" for number in range(TURNS)]
            assert await remembered(random.choice(gateways), f"s{index}") == [(each, f"{each} ") for each in asks]
    assert len(model.sent) == SESSIONS * TURNS


async def test_of_many_messages_to_a_session_at_once_each_is_sent_all_that_was_said_before_it(url: str) -> None:
    model = Echo()
    async with replicas(model, url, within=WITHIN) as gateways:

        async def say(session: str, number: int) -> None:
            text = f"{session}-{number}"
            assert await asked(random.choice(gateways), text, session) == f"{text} "

        await asyncio.gather(*(say(f"s{index}", number) for index in range(SESSIONS) for number in range(TURNS)))
        sent: dict[str, list[list[str]]] = defaultdict(list)
        for messages in model.sent:
            sent[messages[0]["content"].partition("-")[0]].append([each["content"] for each in messages])
        for index in range(SESSIONS):
            session = f"s{index}"
            found = await remembered(random.choice(gateways), session)
            assert sorted(ask for ask, _ in found) == sorted(f"{session}-{number}" for number in range(TURNS))
            whole = [text for turn in found for text in turn]
            assert sent[session] == [whole[: 2 * number + 1] for number in range(TURNS)]


async def remembered(gateway: Gateway, session: str) -> list[tuple[str, str]]:
    """What was asked and answered, all of it complete."""
    found = await turns(gateway, session)
    assert {turn.state for turn in found} == {"complete"}
    return [(json.loads(turn.said)[0]["content"], json.loads(turn.answer or "")["content"]) for turn in found]
